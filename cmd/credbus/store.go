package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) storeCommand() *cobra.Command {
	var (
		in      input
		options client.StoreOptions
		tags    pairs
		expires moment
	)
	cmd := &cobra.Command{
		Use:   "store SCOPE ID",
		Short: "Create or replace a credential",
		Long: `Create or replace a credential. What is stored replaces values and metadata
alike: a description, tags or expiry that is not given again is gone.

The value comes from stdin, byte for byte: a newline at its end is part of it
(echo -n and printf leave it out). On a terminal it is asked for, without echo,
and the newline that ends it is not part of it. Values together hold at most
64 KiB.`,
		Example: `  echo -n s3cret | credbus store org:acme/team:eng db-password
  credbus store org:acme/team:eng tls --data-file cert=./c.pem --data-file key=./k.pem --expires 90d
  pwgen 32 1 | tr -d '\n' | credbus store org:acme token --tag env=prod --rotation-days 30`,
		Args:              names(2, 2),
		ValidArgsFunction: p.completeNames(2),
	}
	flags := cmd.Flags()
	in.register(flags)
	flags.StringVar(&options.Description, "description", "", "what it is for, at most 1,024 characters; not secret")
	flags.Var(&tags, "tag", "a tag, not secret (repeatable, at most 50)")
	flags.Var(&expires, "expires", "when it expires: 2026-12-31T00:00:00Z, or from now 90d or 12h")
	flags.IntVar(&options.RotationDays, "rotation-days", 0, "how many days old the value may become before rotation is due")
	flags.BoolVar(&options.Inheritable, "inheritable", false, "let scopes below read it with --inherit")
	flags.BoolVar(&options.CreateOnly, "create-only", false, "fail if it exists")
	flags.BoolVar(&options.UpdateOnly, "update-only", false, "fail if it does not exist")
	flags.StringVar(&options.Version, "if-version", "", "fail if it is not at this version")
	flags.StringVar(&options.RequestID, "request-id", "", "repeat an earlier write whose outcome is not known; it takes effect once")
	cmd.MarkFlagsMutuallyExclusive("create-only", "update-only", "if-version")
	format := formatFlag(cmd, asText, asJSON)

	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		in.given = cmd.Flags().Changed("value")
		return in.check()
	}
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		target := target(args)
		options.Tags, options.Expires = tags.m, expires.Time
		data, err := p.data(ctx, target, &in)
		if err != nil {
			return err
		}
		defer data.Wipe()
		version, err := c.Store(ctx, target.Scope, target.ID, data, &options)
		if err != nil {
			return err
		}
		if format.chosen == asJSON {
			return writeJSON(p.stdout, &subjects.StoreReply{Target: target, Version: version})
		}
		_, err = fmt.Fprintf(p.stdout, "stored %s, version %s\n", target, version)
		return err
	})
	return cmd
}
