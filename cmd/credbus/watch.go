package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) watchCommand() *cobra.Command {
	var count int
	var stores bool
	cmd := &cobra.Command{
		Use:   "watch [SCOPE]",
		Short: "Print changes of a scope and all scopes below it as they happen",
		Long: `Print changes of a scope and all scopes below it as they happen, until interrupted
or until --count of them. Events never hold values. A line on stderr says when the
command has subscribed: it misses no change after that.

"expiring" and "expired" are not changes: they report when a credential expires, once
for each of its versions and each time in expiry.ahead, a setting of the workers.

"gap" means that events were lost, after a reconnect for example: list the scope to
see its current state.

With --stores it prints the state of each worker's stores, at first and whenever it
changes: "ok", or "failing" while calls are refused, with the error and which calls
are refused: reads, writes or all.

-o json prints one JSON object on a line for each event.`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.Flags().IntVarP(&count, "count", "n", 0, "end after this many events; 0 means never")
	cmd.Flags().BoolVar(&stores, "stores", false, "watch the stores of the workers instead")
	format := formatFlag(cmd, asText, asJSON)

	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		inJSON := format.chosen == asJSON
		if stores {
			if len(args) > 0 {
				return usageError{fmt.Errorf("--stores watches all stores: leave out %s", args[0]), "credbus watch"}
			}
			statuses, err := c.StoreStatuses(ctx)
			if err != nil {
				return err
			}
			p.say("watching all stores")
			return printEach(p.stdout, statuses, count, inJSON, storeLine)
		}
		scope := target(args).Scope
		events, err := c.Events(ctx, scope)
		if err != nil {
			return err
		}
		p.say("watching %s", scopeText(scope))
		return printEach(p.stdout, events, count, inJSON, eventLine)
	})
	return cmd
}

// printEach prints what all yields, and ends after count of them; 0 means never. Each
// line is a write of its own, so that a reader sees it at once.
func printEach[T any, M interface {
	*T
	subjects.Message
}](w io.Writer, all iter.Seq2[T, error], count int, inJSON bool, line func(*T) string) error {
	seen := 0
	for one, err := range all {
		if err != nil {
			return err
		}
		if inJSON {
			err = writeJSON(w, M(&one))
		} else {
			_, err = fmt.Fprintln(w, line(&one))
		}
		if err != nil {
			return err
		}
		if seen++; seen == count {
			return nil
		}
	}
	return nil
}

func storeLine(status *client.StoreStatus) string {
	line := fmt.Sprintf("%-20s  %-8s  %s  %s", shown(status.Since), status.State, status.Name, status.Replica)
	if status.Error != "" {
		line += "  " + string(status.Error)
	}
	if status.Refuses != "" {
		line += "  refuses " + status.Refuses
	}
	return printable(line) // the publisher is unknown
}

func eventLine(event *client.Event) string {
	at, about := event.At, event.Target.String()
	if event.Kind == client.EventGap {
		at, about = time.Now(), scopeText(event.Scope)
	}
	line := fmt.Sprintf("%-20s  %-8s  %s", shown(at), event.Kind, about)
	if !event.Expires.IsZero() {
		line += "  " + shown(event.Expires)
	}
	return printable(line) // the publisher is unknown
}

func scopeText(scope subjects.Scope) string {
	if scope == subjects.Root {
		return "all scopes"
	}
	return string(scope)
}
