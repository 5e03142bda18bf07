package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"credbus/client"
)

func (p *program) validateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate SCOPE [ID]",
		Short: "Check whether credentials are expired, malformed or due for rotation",
		Long: `Check one credential, or all of a scope and the scopes below it. The check uses
stored data only: it does not try the credential anywhere.

The exit status is the verdict: 0 valid, 3 not found or nothing in the scope, 7 expired,
8 malformed, 9 valid with rotation due. Of several, the worst counts: malformed, then
expired, then rotation due. Results are printed in all these cases.

-o json prints one JSON object on a line for each credential.`,
		Example:           `  credbus validate org:acme/team:eng db-password || rotate-db-password`,
		Args:              names(1, 2),
		ValidArgsFunction: p.completeNames(2),
	}
	format := formatFlag(cmd, asText, asJSON)

	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		table := newTable(p.stdout, "SCOPE", "ID", "STATUS", "EXPIRES", "ROTATION", "REASON")
		show := func(v *client.Validation) error {
			if format.chosen == asJSON {
				return writeJSON(p.stdout, v)
			}
			due := ""
			if v.RotationDue {
				due = "due"
			}
			return table.row(string(v.Scope), string(v.ID), string(v.Status), shown(v.Expires), due, v.Reason)
		}
		var found tally
		target := target(args)
		if target.ID != "" {
			v, err := c.Validate(ctx, target.Scope, target.ID)
			if err != nil {
				return err
			}
			found.add(v)
			if err := show(v); err != nil {
				return err
			}
		} else {
			for v, err := range c.ValidateAll(ctx, target.Scope) {
				switch {
				case v == nil:
					return err
				case err != nil:
					p.say("%v", err)
					found.failed++
					continue
				}
				found.add(v)
				if err := show(v); err != nil {
					return err
				}
			}
		}
		if err := table.flush(); err != nil {
			return err
		}
		if found.total+found.failed == 0 {
			return nothing(target.Scope)
		}
		return found.verdict()
	})
	return cmd
}

// tally counts what was found.
type tally struct {
	total, missing, malformed, expired, due, failed int
}

func (t *tally) add(v *client.Validation) {
	t.total++
	switch {
	case v.Status == client.Missing:
		t.missing++
	case v.Status == client.Malformed:
		t.malformed++
	case v.Status == client.Expired:
		t.expired++
	case v.RotationDue:
		t.due++
	}
}

// text counts the findings other than valid, "" if there are none.
func (t *tally) text() string {
	var counts []string
	for _, found := range []struct {
		n    int
		what string
	}{{t.missing, "not found"}, {t.malformed, "malformed"}, {t.expired, "expired"}, {t.due, "due for rotation"}} {
		if found.n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", found.n, found.what))
		}
	}
	return strings.Join(counts, ", ")
}

// verdict is the error that gives the exit status, nil if all are valid.
func (t *tally) verdict() error {
	for _, found := range []struct {
		n    int
		what string
		code int
	}{
		{t.failed, "could not be checked: see above", exitOther},
		{t.missing, "not found: credbus list shows the credentials that exist", exitNotFound},
		{t.malformed, "malformed: restore from a backup, or store again", exitMalformed},
		{t.expired, "expired: store a new value", exitExpired},
		{t.due, "due for rotation: store a new value", exitRotationDue},
	} {
		if found.n > 0 {
			return verdict{fmt.Sprintf("%d of %d %s", found.n, t.total+t.failed, found.what), found.code}
		}
	}
	return nil
}
