package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

// jobFlags are those of every command that submits jobs.
type jobFlags struct {
	p                    *program
	submission           string
	notBefore, expiresAt moment
	wait                 bool
	format               *format
}

func (p *program) jobFlags(cmd *cobra.Command) *jobFlags {
	f := &jobFlags{p: p}
	cmd.Flags().StringVar(&f.submission, "submission", "", "name of the submission; the same items submitted again under it are not done again (default a new name)")
	cmd.Flags().Var(&f.notBefore, "not-before", "time before which no job begins: "+momentHelp)
	cmd.Flags().Var(&f.expiresAt, "expires-at", "time after which no job begins, written as for --not-before")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait for the jobs, as credbus jobs watch does")
	f.format = formatFlag(cmd, asText, asJSON)
	return f
}

// given reports whether any of the flags is.
func (f *jobFlags) given(cmd *cobra.Command) bool {
	for _, name := range []string{"submission", "not-before", "expires-at", "wait", "format"} {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

func (f *jobFlags) options() *client.JobOptions {
	return &client.JobOptions{Submission: f.submission, NotBefore: f.notBefore.Time, ExpiresAt: f.expiresAt.Time}
}

// submit submits, prints the name of the submission, and waits if --wait is given.
func (f *jobFlags) submit(ctx context.Context, submit func(*client.JobOptions) (*client.Submission, error)) error {
	b, err := submit(f.options())
	if errors.Is(err, client.ErrAlreadyExists) {
		return fmt.Errorf("%w: %w", errNameTaken, err)
	}
	if err != nil {
		return err
	}
	if f.format.chosen == asJSON {
		line, err := lineOf(map[string]any{"scope": b.Scope, "batch": b.ID, "jobs": b.Jobs})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f.p.stdout, "%s\n", line)
		if err != nil {
			return err
		}
	} else if _, err := fmt.Fprintln(f.p.stdout, b.ID); err != nil {
		return err
	}
	if f.wait {
		return f.p.watchSubmission(ctx, b, f.format)
	}
	f.p.say("%s %s accepted: credbus jobs watch %s %s follows %s", count(b.Jobs, "job"), was(b.Jobs, "is", "are"), typed(b.Scope), b.ID, was(b.Jobs, "it", "them"))
	return nil
}

// typed is a scope as the user types it.
func typed(scope client.Scope) string {
	if scope == subjects.Root {
		return `""`
	}
	return string(scope)
}

// jobKinds are the values of --command.
var jobKinds = []string{"store", "patch", "retrieve", "delete", "validate"}

func (p *program) jobsSubmitCommand() *cobra.Command {
	s := jobSubmission{p: p}
	cmd := &cobra.Command{
		Use:   "submit SCOPE [FILE|-]",
		Short: "Submit jobs, and print the name of the submission",
		Long: `Submit jobs at a scope, and print the name of the submission. When the command ends,
the jobs are durable. It reads their items from a file, or from stdin:

  --command store      lines of JSON as credbus import reads them; lines that name
                       no scope get SCOPE
  --command patch      lines of JSON with the changes, as docs/protocol.md describes
                       them: fields that are left out are kept, and null removes
  --command retrieve   IDs, one a line; the job checks that they can be read, and
                       prints no value
  --command delete     IDs, one a line
  --command validate   IDs, one a line

For a scope below, write SCOPE/ID. With --all instead of a file, the workers take all
credentials of SCOPE and the scopes below it; --tag, --id-prefix and --expires-before
select from them.

Lines are checked first. If one breaks a rule, nothing is submitted; only --command
store submits the good ones. Values are sealed to the workers' key before they leave.

--print prints the body of the job as JSON instead of publishing it, for the nats
command or any other publisher; stderr says on which subject to publish it.

-o json prints one JSON object.`,
		Example: `  credbus jobs submit org:acme --command store credentials.jsonl --wait
  credbus jobs submit org:acme --command delete --all --tag env=test`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return wrongCount(cmd, args)
			}
			_, err := subjects.ParseScope(args[0])
			return err
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault // files
			}
			return p.completeNames(1)(cmd, args, begun)
		},
	}
	cmd.Flags().StringVar(&s.kind, "command", "", "what to do: "+strings.Join(jobKinds, ", "))
	// These fail only for an unknown flag.
	_ = cmd.RegisterFlagCompletionFunc("command", cobra.FixedCompletions(jobKinds, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.MarkFlagRequired("command")
	cmd.Flags().BoolVar(&s.all, "all", false, "all credentials of the scope and the scopes below it")
	cmd.Flags().Var(&s.tags, "tag", "with --all, only those with this tag (repeatable)")
	cmd.Flags().StringVar(&s.filter.IDPrefix, "id-prefix", "", "with --all, only IDs that begin with this")
	cmd.Flags().Var(&s.before, "expires-before", "with --all, only those that expire before: "+momentHelp)
	s.flags = p.jobFlags(cmd)
	cmd.Flags().BoolVar(&s.print, "print", false, "print the one job as JSON, and submit nothing")
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error { return s.check(cmd, args) }
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		s.filter.Tags, s.filter.ExpiresBefore = s.tags.m, s.before.Time
		file := "-"
		if len(args) == 2 {
			file = args[1]
		}
		return s.run(ctx, c, client.Scope(args[0]), file)
	})
	return cmd
}

// jobSubmission is one call of credbus jobs submit.
type jobSubmission struct {
	p      *program
	kind   string
	all    bool
	tags   pairs
	before moment
	filter client.Filter
	print  bool
	flags  *jobFlags
}

func (s *jobSubmission) check(cmd *cobra.Command, args []string) error {
	filtered := cmd.Flags().Changed("tag") || cmd.Flags().Changed("id-prefix") || cmd.Flags().Changed("expires-before")
	switch {
	case s.command() == "":
		return fmt.Errorf("flag --command: it is one of %s", strings.Join(jobKinds, ", "))
	case s.all && s.command().CarriesValues():
		return fmt.Errorf("--all selects stored credentials: to %s, give a file", s.kind)
	case s.all && len(args) == 2:
		return errors.New("--all and a file both say what the jobs are about: choose one")
	case filtered && !s.all:
		return errors.New("--tag, --id-prefix and --expires-before go with --all")
	case s.print && s.flags.wait:
		return errors.New("--print submits nothing, so --wait has nothing to wait for: leave out one of them")
	}
	return nil
}

func (s *jobSubmission) command() client.Command {
	switch s.kind {
	case "store":
		return client.CommandStore
	case "patch":
		return client.CommandPatch
	case "retrieve":
		return client.CommandRetrieve
	case "delete":
		return client.CommandDelete
	case "validate":
		return client.CommandValidate
	}
	return ""
}

func (s *jobSubmission) run(ctx context.Context, c *client.Client, scope client.Scope, file string) error {
	if s.command() == client.CommandStore {
		im := importer{p: s.p, c: c, scope: scope}
		im.submit = func(ctx context.Context, _ client.Scope, items []client.StoreItem) error {
			return s.submit(ctx, func(options *client.JobOptions) (*client.Submission, error) {
				defer im.wipe() // not after --wait
				return c.StoreJob(ctx, scope, items, options)
			})
		}
		return im.run(ctx, file)
	}
	if s.command() == client.CommandPatch {
		patches, err := s.p.readPatches(ctx, scope, file)
		defer patches.wipe()
		if err != nil {
			return err
		}
		return s.submit(ctx, func(options *client.JobOptions) (*client.Submission, error) {
			defer patches.wipe() // not after --wait
			return c.PatchJob(ctx, scope, patches.items, options)
		})
	}
	if s.all {
		return s.submit(ctx, func(options *client.JobOptions) (*client.Submission, error) {
			return c.SelectJob(ctx, scope, s.command(), s.filter, options)
		})
	}
	targets, err := s.p.readTargets(ctx, scope, file)
	if err != nil {
		return err
	}
	return s.submit(ctx, func(options *client.JobOptions) (*client.Submission, error) {
		switch s.command() {
		case client.CommandRetrieve:
			items := make([]client.RetrieveItem, len(targets))
			for i, t := range targets {
				items[i] = client.RetrieveItem{Scope: t.Scope, ID: t.ID}
			}
			return c.RetrieveJob(ctx, scope, items, options)
		case client.CommandDelete:
			items := make([]client.DeleteItem, len(targets))
			for i, t := range targets {
				items[i] = client.DeleteItem{Scope: t.Scope, ID: t.ID}
			}
			return c.DeleteJob(ctx, scope, items, options)
		default:
			return c.ValidateJob(ctx, scope, targets, options)
		}
	})
}

func (s *jobSubmission) submit(ctx context.Context, submit func(*client.JobOptions) (*client.Submission, error)) error {
	if !s.print {
		return s.flags.submit(ctx, submit)
	}
	var made []*nats.Msg
	options := s.flags.options()
	options.Send = func(msg *nats.Msg) error {
		made = append(made, msg)
		return nil
	}
	if _, err := submit(options); err != nil {
		return err
	}
	if len(made) > 1 {
		return usageError{fmt.Errorf("the items make %d jobs: --print prints one, of up to %d items", len(made), subjects.MaxBatchItems), "credbus jobs submit"}
	}
	body, err := subjects.ToJSON(made[0].Data)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.p.stdout, "%s\n", body); err != nil {
		return err
	}
	s.p.say("publish it on subject %s", made[0].Subject)
	return nil
}

// readTargets reads IDs, one a line, of a scope or, as SCOPE/ID, of those below it.
func (p *program) readTargets(ctx context.Context, scope client.Scope, file string) ([]client.Target, error) {
	in, _, err := p.open(ctx, file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var targets []client.Target
	scanner := bufio.NewScanner(in)
	for number := 1; scanner.Scan(); number++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" {
			continue
		}
		var found client.Target
		if at := strings.LastIndexByte(text, '/'); at >= 0 {
			if found.Scope, err = subjects.ParseScope(text[:at]); err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			if !scope.Contains(found.Scope) {
				return nil, usageError{fmt.Errorf("line %d: its scope is not below %s", number, scopeText(scope)), "credbus jobs submit"}
			}
			text = text[at+1:]
		}
		if found.ID, err = subjects.ParseID(text); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		targets = append(targets, found)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return targets, nil
}
