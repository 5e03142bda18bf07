package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) listCommand() *cobra.Command {
	var (
		options client.ListOptions
		tags    pairs
		before  moment
	)
	cmd := &cobra.Command{
		Use:   "list [SCOPE]",
		Short: "List IDs and metadata of a scope and all scopes below it",
		Long: `List IDs and metadata of a scope and all scopes below it, or of all scopes if
none is given. It shows no values. All given filters must match.

-o json prints one JSON object on a line for each credential.`,
		Example: `  credbus list org:acme --tag env=prod --tag owner=eng
  credbus list org:acme --expires-before 30d -o json | jq -r .id`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.Flags().Var(&tags, "tag", "only those with this tag (repeatable)")
	cmd.Flags().StringVar(&options.IDPrefix, "id-prefix", "", "only IDs that begin with this")
	cmd.Flags().Var(&before, "expires-before", "only those that expire before: "+momentHelp)
	format := formatFlag(cmd, asText, asJSON)

	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		options.Tags, options.ExpiresBefore = tags.m, before.Time
		found := false
		table := newTable(p.stdout, listColumns...)
		for credential, err := range c.List(ctx, target(args).Scope, &options) {
			if err != nil {
				return err
			}
			found = true
			if format.chosen == asJSON {
				err = writeJSON(p.stdout, &credential.Credential)
			} else {
				err = table.row(listed(credential)...)
			}
			if err != nil {
				return err
			}
		}
		if err := table.flush(); err != nil || found {
			return err
		}
		if len(options.Tags) > 0 || options.IDPrefix != "" || !options.ExpiresBefore.IsZero() {
			p.say("nothing in this scope matches all the filters")
		} else {
			p.say("%v", nothing(target(args).Scope))
		}
		return nil
	})
	return cmd
}

// listColumns are the columns of list and describe; listed is a credential's row of them.
var listColumns = []string{"SCOPE", "ID", "EXPIRES", "ROTATION", "TAGS", "DESCRIPTION"}

func listed(credential *client.Credential) []string {
	return []string{
		string(credential.Scope), string(credential.ID), shown(credential.Expires),
		rotation(credential.RotationDays), joinTags(credential.Tags), described(credential),
	}
}

// nothing is the verdict on an empty scope. Most often, the scope is misspelt.
func nothing(scope client.Scope) error {
	if scope == subjects.Root {
		return verdict{"nothing is stored in any scope", exitNotFound}
	}
	return verdict{fmt.Sprintf("nothing is stored in %s or below it: credbus list without a scope shows all credentials", scope), exitNotFound}
}

func rotation(days int) string {
	if days == 0 {
		return ""
	}
	return strconv.Itoa(days) + "d"
}

func joinTags(tags map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, key+"="+tags[key])
	}
	return strings.Join(all, ",")
}

func described(credential *client.Credential) string {
	if credential.Damaged != "" {
		return "DAMAGED: " + credential.Damaged
	}
	return credential.Description
}
