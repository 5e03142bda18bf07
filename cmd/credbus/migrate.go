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
		Long: `Copy everything, or what is in a scope and the scopes below it, from one store of
the workers to another. The names are those of the workers' configuration (stores);
the one that has no name is default. Each copy is read back and compared with its
original, values and metadata. Reads and writes go on throughout.

It may be interrupted at any time and run again: what is there already is
compared and passed over, and what has changed since is copied anew. What is newer
where it is copied to is left. --prune also deletes from there what the other store
does not have.

The workers refuse to copy to a store that they keep the scope in. To move a scope:

  1. give the workers the new store, without a route to it, and restart them
  2. credbus migrate SCOPE --from old --to new --prune
  3. let nobody write, and repeat it until it copies and prunes nothing
  4. stop all workers, route the scope to the new store (store.routes), start the
     first worker with --deployment.change, and then the others

A credential that cannot be copied is reported, and the others are copied all the
same; the exit status is 1 then. It stops, with 6, where a store does not answer.`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
		Example: `  credbus migrate --from default --to vault
  credbus migrate org:acme --from default --to vault --prune`,
	}
	var m migration
	cmd.Flags().StringVar(&m.from, "from", "", "name of the store that is copied from")
	cmd.Flags().StringVar(&m.to, "to", "", "name of the store that is copied to")
	cmd.Flags().BoolVar(&m.prune, "prune", false, "also delete from there what the other store does not have")
	for _, flag := range []string{"from", "to"} {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // it was made above
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

	total  client.Migrated // but for what is there when pruning
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
		return err // which may be for good: the names are wrong
	default:
		return halfway{fmt.Sprintf("stopped with %s copied and %d pruned: run it again, which goes on from there", count(m.total.Copied, "credential"), m.total.Pruned), err}
	}
	_, err = fmt.Fprintf(m.p.stdout, "copied %s from %s to %s in %s; %d there before, %d newer there, %d pruned, %d failed\n",
		count(m.total.Copied, "credential"), m.from, m.to, time.Since(begun).Round(time.Millisecond), m.total.Current, m.total.Newer, m.total.Pruned, m.failed)
	if err == nil && m.failed > 0 {
		err = verdict{fmt.Sprintf("%s failed, as said above: put that right and run it again", count(m.failed, "credential")), exitOther}
	}
	return err
}

// pass goes through everything once.
func (m *migration) pass(ctx context.Context, label string, prune bool) error {
	progress := m.p.startProgress(label, -1, false)
	defer progress.end()
	cursor := ""
	var done, left int64 // of the page, when it is asked for once more
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
			done += page.Copied // which is current when it is looked at again
			left = page.Remaining
			continue
		}
		if err := outage(page.Failed, looked); err != nil {
			return err
		}
		if !prune {
			m.total.Current += max(0, page.Current-done) // some may have failed when looked at again
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

var errNoTime = errors.New("there is too little progress in the time of one request: give it more (--timeout)")
