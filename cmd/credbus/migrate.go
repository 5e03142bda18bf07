package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
)

func (p *program) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate [SCOPE]",
		Short: "Copy credentials from one store of the workers to another",
		Long: `Copy all credentials, or those of a scope and the scopes below it, from one store of
the workers to another. The names are those of the workers' configuration (stores);
the store without a name is default. Each copy is read back, and its values and
metadata are compared with the original. Reads and writes go on meanwhile.

You may interrupt it at any time and run it again: it skips copies that are equal
already, and replaces those whose original has changed since. Copies that are newer
than the original stay. --prune also deletes the copies whose original does not exist.

The workers refuse to copy to the store in which they keep the scope. To move a scope:

  1. give the workers the new store, without a route to it, and restart them
  2. credbus migrate SCOPE --from old --to new --prune
  3. stop all writers, and repeat it until it copies and prunes nothing
  4. stop all workers, route the scope to the new store (store.routes), start the
     first worker with --deployment.change, and then the others

If a credential cannot be copied, it is reported, the others are copied, and the exit
status is 1. If a store does not answer, the command stops with exit status 6.`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
		Example: `  credbus migrate --from default --to vault
  credbus migrate org:acme --from default --to vault --prune`,
	}
	var m migration
	cmd.Flags().StringVar(&m.from, "from", "", "name of the store to copy from")
	cmd.Flags().StringVar(&m.to, "to", "", "name of the store to copy to")
	cmd.Flags().BoolVar(&m.prune, "prune", false, "also delete copies whose original does not exist")
	for _, flag := range []string{"from", "to"} {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // the flags are defined above
		}
	}
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		m.p, m.c, m.scope = p, c, target(args).Scope
		return m.run(ctx)
	})
	return cmd
}

// migration copies page after page, then prunes page after page.
type migration struct {
	p     *program
	c     *client.Client
	scope client.Scope
	from  string
	to    string
	prune bool

	total  client.Migrated // Current and Newer without the pass that prunes
	failed int
}

func (m *migration) run(ctx context.Context) error {
	begun := time.Now()
	err := m.pass(ctx, "copying", false)
	if err == nil && m.prune {
		err = m.pass(ctx, "pruning", true)
	}
	switch {
	case err == nil:
	case m.total.Copied == 0 && m.total.Pruned == 0:
		return err // it may be permanent, such as a wrong name
	default:
		return halfway{fmt.Sprintf("stopped with %s copied and %d pruned: run it again to go on from there", count(m.total.Copied, "credential"), m.total.Pruned), err}
	}
	_, err = fmt.Fprintf(m.p.stdout, "copied %s from %s to %s in %s; %d there before, %d newer there, %d pruned, %d failed\n",
		count(m.total.Copied, "credential"), m.from, m.to, time.Since(begun).Round(time.Millisecond), m.total.Current, m.total.Newer, m.total.Pruned, m.failed)
	if err == nil && m.failed > 0 {
		err = verdict{fmt.Sprintf("%s failed, as said above: put that right and run it again", count(m.failed, "credential")), exitOther}
	}
	return err
}

// pass goes through all credentials once.
func (m *migration) pass(ctx context.Context, label string, prune bool) error {
	progress := m.p.startProgress(label, -1, false)
	defer progress.end()
	cursor := ""
	var done, left int64 // of this page, in its earlier requests
	for {
		page, err := m.c.Migrate(ctx, m.scope, m.from, m.to, client.MigrateOptions{Prune: prune, Cursor: cursor})
		if err != nil {
			return err
		}
		m.total.Copied += page.Copied
		m.total.Pruned += page.Pruned
		looked := page.Copied + page.Current + page.Newer + page.Gone + page.Pruned
		if page.Remaining > 0 {
			if left > 0 && page.Remaining >= left {
				return cmp.Or(outage(page.Failed, looked), errors.Join(errNoTime, context.DeadlineExceeded))
			}
			done += page.Copied // the next request counts them as current
			left = page.Remaining
			continue
		}
		if err := outage(page.Failed, looked); err != nil {
			return err
		}
		if !prune {
			m.total.Current += max(0, page.Current-done) // some may have failed in a later request
			m.total.Newer += page.Newer
		}
		progress.add(int(looked))
		for i := range page.Failed {
			m.p.say("%v", &page.Failed[i])
			m.failed++
		}
		if page.Cursor == "" {
			return nil
		}
		cursor, done, left = page.Cursor, 0, 0
	}
}

var errNoTime = errors.New("one request made too little progress in its time: give it more (--timeout)")
