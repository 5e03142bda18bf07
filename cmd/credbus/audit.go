package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/internal/audit"
	"credbus/subjects"
)

// auditLog is the audit log that a command reads: the files of a worker, or the stream of all.
type auditLog struct {
	p      *program
	file   string
	stream bool
}

func (p *program) auditCommand() *cobra.Command {
	log := &auditLog{p: p}
	var filter audit.Filter
	var scope, id string
	var since, until past
	var limit int
	cmd := &cobra.Command{
		Use:   "audit [SCOPE [ID]]",
		Short: "Show who did what, from the audit log of the workers",
		Long: `Show who did what, from the audit log of the workers: the records of a scope and all scopes
below it, the oldest first. All given filters must match.

It reads the file of a worker of this machine (--file, or that in the worker's data directory)
with all rotated ones, and needs no connection. With --stream, it asks the workers for the log
that all of them keep in a JetStream stream (their setting audit.sink), which only operators
may do. A worker records if its setting audit.level is writes or all. WHO is the account and
user, if NATS told the worker; otherwise, it is the scope of the subject, at which the caller
may act.`,
		Example: `  credbus audit org:acme db-password --since 30d --stream
  credbus audit --who org:acme/team:eng --command retrieve -o json
  credbus audit --outcome failed --since 24h`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(2)(cmd, args); err != nil {
				return err
			}
			if err := filter.Check(); err != nil {
				return err
			}
			for i, into := range []*string{&scope, &id} {
				if i < len(args) {
					*into = args[i]
				}
			}
			if _, err := subjects.ParseScope(scope); err != nil {
				return err
			}
			if id == "" {
				return nil
			}
			_, err := subjects.ParseID(id)
			return err
		},
	}
	cmd.PersistentFlags().StringVar(&log.file, "file", "", "file of the audit log (default audit/audit.log in --data-dir)")
	cmd.PersistentFlags().BoolVar(&log.stream, "stream", false, "ask the workers for the log that they keep in a stream")
	cmd.MarkFlagsMutuallyExclusive("file", "stream")
	cmd.Flags().StringVar(&filter.Who, "who", "", "only by this account, user, ACCOUNT/USER, or scope of the subject")
	cmd.Flags().StringVar(&filter.Command, "command", "", "only this command, such as retrieve; audit_lost shows where records are missing")
	cmd.Flags().StringVar(&filter.Outcome, "outcome", "", "only with this outcome: ok, failed, or a code such as not_found")
	cmd.Flags().StringVar(&filter.Version, "version", "", "only of this version")
	cmd.Flags().Var(&since, "since", "only since then: "+pastHelp)
	cmd.Flags().Var(&until, "until", "only before then: "+pastHelp)
	cmd.Flags().IntVar(&limit, "limit", 0, "only the newest so many; 0 for all")
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.begun = true
		filter.Scope, filter.ID, filter.Since, filter.Until = subjects.Scope(scope), id, since.Time, until.Time
		return log.read(cmd.Context(), filter.Since, func(ctx context.Context, records iter.Seq2[*audit.Record, error]) error {
			return log.show(ctx, records, &filter, limit, format.chosen == asJSON)
		})
	}
	cmd.AddCommand(log.verifyCommand(), log.unusedCommand())
	return cmd
}

// sources are the files of the log.
func (l *auditLog) sources() ([]audit.Source, error) {
	path := l.file
	if path == "" {
		dir, err := l.p.connection.workerDir()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(dir, "audit", "audit.log")
	}
	sources, err := audit.Files(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, verdict{fmt.Sprintf("there is no audit log at %s: name it with --file, or let the worker write one (its setting audit.level)", path), exitNotFound}
	}
	return sources, err
}

// read calls do with the records, perhaps without those before since.
func (l *auditLog) read(ctx context.Context, since time.Time, do func(context.Context, iter.Seq2[*audit.Record, error]) error) error {
	run := func(ctx context.Context, c *client.Client, _ []string) error {
		records, err := l.records(ctx, c, since)
		if err != nil {
			return err
		}
		return do(ctx, records)
	}
	if l.stream {
		return l.p.withClient(ctx, nil, run)
	}
	return run(ctx, nil, nil) // files need no connection
}

// records are those of the log, perhaps without those before since.
func (l *auditLog) records(ctx context.Context, c *client.Client, since time.Time) (iter.Seq2[*audit.Record, error], error) {
	if !l.stream {
		sources, err := l.sources()
		return audit.Records(sources), err
	}
	if !since.IsZero() {
		const clocks = 5 * time.Minute // of NATS server and workers may differ
		since = since.Add(-clocks)
	}
	return audit.RecordsOf(blocksOf(ctx, c, since)), nil
}

// blocksOf are the blocks of the stream.
func blocksOf(ctx context.Context, c *client.Client, since time.Time) iter.Seq2[*audit.Block, error] {
	return func(yield func(*audit.Block, error) bool) {
		for block, err := range c.Audit(ctx, since) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&audit.Block{Seq: block.Seq, Worker: block.Worker, Text: block.Block}, nil) {
				return
			}
		}
	}
}

// unreadable adds to the error of a damaged log what to do.
func unreadable(err error) error {
	if errors.Is(err, audit.ErrDamaged) {
		return fmt.Errorf("%w: credbus audit verify shows all that is wrong", err)
	}
	return err
}

// show prints what matches, the newest so many if limit is not 0.
func (l *auditLog) show(ctx context.Context, records iter.Seq2[*audit.Record, error], filter *audit.Filter, limit int, asLines bool) error {
	table := newTable(l.p.stdout, "TIME", "WHO", "COMMAND", "SCOPE", "ID", "VERSION", "OUTCOME")
	print := func(r *audit.Record) error {
		if asLines {
			line, err := lineOf(r)
			if err != nil {
				return err
			}
			return writeLine(l.p.stdout, line)
		}
		return table.row(r.Time.Format(time.RFC3339), r.Who(), r.Command, r.Scope, r.ID, r.Version, outcomeOf(r))
	}
	var newest []*audit.Record
	found := false
	for r, err := range records {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return unreadable(err)
		case !filter.Match(r):
			continue
		case limit > 0:
			kept := *r
			if newest = append(newest, &kept); len(newest) > limit {
				newest = newest[1:]
			}
		default:
			err = print(r)
		}
		if found = true; err != nil {
			return err
		}
	}
	for _, r := range newest {
		if err := print(r); err != nil {
			return err
		}
	}
	if err := table.flush(); err != nil {
		return err
	}
	if !found {
		l.p.say("no record matches")
	}
	return nil
}

// outcomeOf is the outcome of a record, with what makes it unusual.
func outcomeOf(r *audit.Record) string {
	switch {
	case r.Lost > 0:
		return fmt.Sprintf("%d records lost", r.Lost)
	case r.Unknown:
		return r.Outcome + " (perhaps done)"
	case r.Job != "":
		return r.Outcome + " (job " + r.Job + ")"
	}
	return r.Outcome
}

func (l *auditLog) unusedCommand() *cobra.Command {
	var span past
	cmd := &cobra.Command{
		Use:   "unused SCOPE",
		Short: "List the credentials that nobody has retrieved for some time",
		Long: `List the credentials of a scope and all scopes below it that nobody has retrieved for some
time, as far as the audit log knows. If several workers serve, the file of one knows only a
part: use --stream, or look at the files of all.

The log must reach back that far, and record reads (audit.level all). Otherwise, the command
fails, since it cannot know.`,
		Example: `  credbus audit unused org:acme --for 90d`,
		Args:    names(1, 1),
	}
	_ = span.Set("90d")
	cmd.Flags().Var(&span, "for", "for how long: "+pastHelp)
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = l.p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		records, err := l.records(ctx, c, time.Time{})
		if err != nil {
			return err
		}
		used, err := l.used(ctx, records, span.Time)
		if err != nil {
			return err
		}
		table := newTable(l.p.stdout, "SCOPE", "ID", "LAST RETRIEVED", "MODIFIED")
		for credential, err := range c.List(ctx, target(args).Scope, nil) {
			if err != nil {
				return err
			}
			last := used[subjects.Target{Scope: credential.Scope, ID: credential.ID}]
			if !last.Before(span.Time) || !credential.Modified.Before(span.Time) {
				continue
			}
			if format.chosen == asJSON {
				err = writeUnused(l.p, credential, last)
			} else {
				err = table.row(string(credential.Scope), string(credential.ID), shown(last), shown(credential.Modified))
			}
			if err != nil {
				return err
			}
		}
		return table.flush()
	})
	return cmd
}

func writeUnused(p *program, credential *client.Credential, last time.Time) error {
	shown := struct {
		Scope         string     `json:"scope"`
		ID            string     `json:"id"`
		LastRetrieved *time.Time `json:"last_retrieved,omitempty"`
		Modified      time.Time  `json:"modified"`
	}{Scope: string(credential.Scope), ID: string(credential.ID), Modified: credential.Modified}
	if !last.IsZero() {
		shown.LastRetrieved = &last
	}
	line, err := lineOf(shown)
	if err != nil {
		return err
	}
	return writeLine(p.stdout, line)
}

// used returns when each credential was last retrieved. It fails if the log does not tell for
// all of the time since then.
func (l *auditLog) used(ctx context.Context, records iter.Seq2[*audit.Record, error], since time.Time) (map[subjects.Target]time.Time, error) {
	used := make(map[subjects.Target]time.Time)
	var first time.Time
	reads, lost := false, int64(0)
	for r, err := range records {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, unreadable(err)
		}
		if first.IsZero() {
			first = r.Time
		}
		if r.Time.After(since) {
			lost += r.Lost
		}
		reads = reads || r.Command == string(subjects.Retrieve)
		if r.Retrieved() {
			used[subjects.Target{Scope: subjects.Scope(r.Scope), ID: subjects.ID(r.ID)}] = r.Time
		}
	}
	switch {
	case first.IsZero() || first.After(since):
		return nil, verdict{fmt.Sprintf("the audit log begins at %s, and so does not know who retrieved what since %s: give a shorter time with --for", shown(first), shown(since)), exitOther}
	case !reads:
		return nil, verdict{"the audit log has no retrieve at all, so it does not know what is used: set audit.level of the worker to all", exitOther}
	case lost > 0:
		l.p.say("the worker could not write %d records since then, so some of these may have been used", lost)
	}
	return used, nil
}
