package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"credbus/internal/natsconn"
	"credbus/internal/tenancy"
	"credbus/internal/tenancy/users"
)

// ofEmbedded is said by the commands that edit the tenants of an embedded server.
const ofEmbedded = `It edits a file in the data directory of the worker (--data-dir), and needs no
connection. The server takes up the change within a second. A NATS server of your own has its
users elsewhere: credbus tenant prints what it must allow.`

func (p *program) tenantAddCommand() *cobra.Command {
	t := &tenant{p: p, profile: profileUsers, workers: workersAccount}
	cmd := &cobra.Command{
		Use:   "add [SCOPE] ROLE...",
		Short: "Add a tenant to the NATS server of a worker of this machine",
		Long: `Add a tenant to the NATS server that a worker of this machine runs, as a user with roles at
a scope. It makes a password, and prints the path of a nats context that has it: give that
file to the tenant, for --context. If the file is lost, remove the tenant and add it again.

` + ofEmbedded,
		Example: `  credbus tenant add org:acme writer subscriber
  credbus retrieve org:acme db-password --context acme.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := t.parse(cmd, args); err != nil {
				return err
			}
			return t.user().Check()
		},
	}
	cmd.Flags().StringVar(&t.name, "name", "", "name of the user (default made from the scope or role)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.begun = true
		dir, err := p.tenantDir(cmd)
		if err != nil {
			return err
		}
		path, err := users.Add(cmd.Context(), dir, t.user())
		if err != nil {
			return err
		}
		p.say("added %s: %s", t.name, t.config)
		if err := writeLine(p.stdout, []byte(path)); err != nil {
			return err
		}
		return p.awaitTenant(cmd.Context(), path)
	}
	return cmd
}

func (p *program) tenantListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tenants of the NATS server of a worker of this machine",
		Long: `List the tenants that credbus tenant add has made. It reads a file in the data
directory of the worker (--data-dir), and needs no connection.`,
		Args: cobra.NoArgs,
	}
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.begun = true
		dir, err := p.tenantDir(cmd)
		if err != nil {
			return err
		}
		tenants, err := users.Tenants(dir)
		if err != nil {
			return err
		}
		for _, t := range tenants {
			line := []byte(fmt.Sprintf("%s: %s", t.Name, t.String()))
			if format.chosen == asJSON {
				if line, err = lineOf(struct {
					Name  string         `json:"name"`
					Scope string         `json:"scope,omitempty"`
					Roles []tenancy.Role `json:"roles"`
					Inbox string         `json:"inbox_prefix"`
				}{t.Name, string(t.Scope), t.Roles, t.Inbox()}); err != nil {
					return err
				}
			}
			if err := writeLine(p.stdout, line); err != nil {
				return err
			}
		}
		if len(tenants) == 0 {
			p.say("no tenants in %s", dir)
		}
		return nil
	}
	return cmd
}

func (p *program) tenantRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a tenant from the NATS server of a worker of this machine",
		Long: `Remove a tenant that credbus tenant add has made, and its nats context. The server
disconnects it.

` + ofEmbedded,
		Example: `  credbus tenant remove acme`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.begun = true
		dir, err := p.tenantDir(cmd)
		if err != nil {
			return err
		}
		if err := users.Remove(cmd.Context(), dir, args[0]); err != nil {
			return err
		}
		p.say("removed %s", args[0])
		return nil
	}
	return cmd
}

// user is what the arguments and flags say, as a user of an embedded server.
func (t *tenant) user() users.Tenant {
	return users.Tenant{Name: t.name, Scope: t.config.Scope, Roles: t.config.Roles}
}

// awaitTenant waits until the server takes the user of a context, and says so if it does not.
func (p *program) awaitTenant(ctx context.Context, path string) error {
	// The server looks once a second. It logs each attempt that it refuses.
	ticker := time.NewTicker(1100 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(takeUp); ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		conn, err := natsconn.Connect(ctx, natsconn.Config{Context: path, Flags: natsconn.CommandLine, Logger: slog.New(slog.DiscardHandler)})
		switch {
		case err == nil:
			conn.Close()
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case unreachable(err):
			p.say("no server answers now: it takes up the tenant when it runs")
			return nil
		case time.Now().After(deadline):
			p.say("the server has not taken up the tenant within %v: the worker's log says why", takeUp)
			return nil
		}
	}
}

// takeUp is how long a server that is busy may take to see a new tenant.
const takeUp = 10 * time.Second

// tenantDir is the data directory whose tenants a command edits. Flags of a connection are
// refused: they may mean a server that has its users elsewhere.
func (p *program) tenantDir(cmd *cobra.Command) (string, error) {
	for _, flag := range []string{"server", "context", "creds", "nkey", "token", "user", "password", "prefix", "inbox-prefix"} {
		if cmd.Flags().Changed(flag) {
			return "", usageError{fmt.Errorf("--%s is for a connection, and this command edits the tenants in a data directory: leave it out, and name the directory with --data-dir", flag), cmd.CommandPath()}
		}
	}
	dir, err := p.connection.workerDir()
	if err != nil {
		return "", usageError{err, cmd.CommandPath()}
	}
	return dir, nil
}
