package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"credbus/client"
)

func (p *program) deleteCommand() *cobra.Command {
	var options client.DeleteOptions
	cmd := &cobra.Command{
		Use:               "delete SCOPE ID",
		Short:             "Remove a credential from the store and every cache",
		Args:              names(2, 2),
		ValidArgsFunction: p.completeNames(2),
	}
	cmd.Flags().StringVar(&options.Version, "if-version", "", "fail if it is not at this version")
	cmd.Flags().StringVar(&options.RequestID, "request-id", "", "repeat an earlier delete whose outcome is not known")
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		target := target(args)
		if err := c.Delete(ctx, target.Scope, target.ID, &options); err != nil {
			return err
		}
		_, err := fmt.Fprintf(p.stdout, "deleted %s\n", target)
		return err
	})
	return cmd
}
