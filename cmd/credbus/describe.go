package main

import (
	"context"

	"github.com/spf13/cobra"

	"credbus/client"
)

func (p *program) describeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe SCOPE ID",
		Short: "Print the metadata of a credential",
		Long: `Print the metadata of a credential as credbus list does. It shows no values, and
needs no permission to retrieve them.

-o json prints it as one JSON object.`,
		Example:           `  credbus describe org:acme/team:eng db-password -o json | jq -r .modified`,
		Args:              names(2, 2),
		ValidArgsFunction: p.completeNames(2),
	}
	format := formatFlag(cmd, asText, asJSON)

	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		target := target(args)
		credential, err := c.Describe(ctx, target.Scope, target.ID)
		if err != nil {
			return err
		}
		if format.chosen == asJSON {
			return writeJSON(p.stdout, &credential.Credential)
		}
		table := newTable(p.stdout, listColumns...)
		if err := table.row(listed(credential)...); err != nil {
			return err
		}
		return table.flush()
	})
	return cmd
}
