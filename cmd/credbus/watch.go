package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) watchCommand() *cobra.Command {
	var count int
	cmd := &cobra.Command{
		Use:   "watch [SCOPE]",
		Short: "Print changes of a scope and all scopes below it as they come",
		Long: `Print changes of a scope and all scopes below it as they come, until interrupted
or until --count of them came. Events never hold values. That it is subscribed,
so that no later change is missed, is said on stderr.

"expiring" and "expired" change nothing: they say when a credential expires, once
for each of its versions and each time of expiry.ahead, a setting of the workers.

"gap" stands where events were lost, after a reconnect for example: list the
scope to see how things are.

-o json prints one JSON object on a line for each event.`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.Flags().IntVarP(&count, "count", "n", 0, "end after so many events; 0 is never")
	format := formatFlag(cmd, asText, asJSON)

	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		scope := target(args).Scope
		events, err := c.Events(ctx, scope)
		if err != nil {
			return err
		}
		p.say("watching %s", scopeText(scope))
		seen := 0
		for event, err := range events {
			if err != nil {
				return err
			}
			// Each line is a write of its own: whoever reads sees it at once.
			if format.chosen == asJSON {
				err = writeJSON(p.stdout, &event)
			} else {
				_, err = fmt.Fprintln(p.stdout, eventLine(&event))
			}
			if err != nil {
				return err
			}
			if seen++; seen == count {
				return nil
			}
		}
		return nil
	})
	return cmd
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
	return line
}

func scopeText(scope subjects.Scope) string {
	if scope == subjects.Root {
		return "all scopes"
	}
	return string(scope)
}
