package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"credbus/client"
)

func (p *program) retrieveCommand() *cobra.Command {
	var (
		options client.RetrieveOptions
		name    string
	)
	cmd := &cobra.Command{
		Use:   "retrieve SCOPE ID",
		Short: "Print a credential",
		Long: `Print a credential: its value alone, followed by a newline only on a terminal.

-o json prints values and metadata; a value that is not UTF-8 is {"base64": "..."}
there.

-o env prints lines for a POSIX shell to read: eval "$(credbus retrieve ...)".
The name of the single, unnamed value is the ID, that of a named one is ID_NAME, both
in capitals. Characters other than letters and digits become _, and a digit at the
beginning gets a _ before it: the value "user" of "my-db" is MY_DB_USER. Values are
quoted for the shell. A value with a NUL byte cannot be a variable.`,
		Example: `  credbus retrieve org:acme/team:eng db-password
  credbus retrieve org:acme/team:eng tls --name key > key.pem
  credbus retrieve org:acme/team:eng/service:api db-password --inherit`,
		Args:              names(2, 2),
		ValidArgsFunction: p.completeNames(2),
	}
	cmd.Flags().StringVar(&name, "name", "", "which one of several values")
	cmd.Flags().BoolVar(&options.Inherit, "inherit", false, "if the scope has none, read the nearest inheritable one of the scopes above")
	cmd.Flags().BoolVar(&options.Fresh, "fresh", false, "read from the store, past every cache")
	format := formatFlag(cmd, asText, asJSON, asEnv)

	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		target := target(args)
		credential, err := c.Retrieve(ctx, target.Scope, target.ID, &options)
		if err != nil {
			return err
		}
		defer credential.Wipe()
		if since := credential.StaleSince; !since.IsZero() {
			fmt.Fprintf(p.stderr, "credbus: the store cannot be reached: this is the value that it held at %s\n", since.Format(time.RFC3339))
		}
		if name != "" {
			if err := keepOnly(credential, name); err != nil {
				return err
			}
		}
		if at := credential.Expires; !at.IsZero() && !time.Now().Before(at) {
			p.say("it expired at %s: store a new value", shown(at))
		}
		if format.chosen != asJSON && isTerminal(p.stdout) {
			for _, value := range credential.Data {
				if !plain(value.Bytes()) {
					return usageError{errors.New("the value has characters that would control this terminal: write it to a file or a pipe, or print it with -o json"), "credbus retrieve"}
				}
			}
		}
		switch format.chosen {
		case asJSON:
			return writeJSON(p.stdout, &credential.Credential)
		case asEnv:
			return writeEnv(p.stdout, credential)
		}
		return p.printValue(credential)
	})
	return cmd
}

// keepOnly wipes all values but one.
func keepOnly(credential *client.Credential, name string) error {
	value, found := credential.Data[name]
	if !found {
		return fmt.Errorf("%w: %s/%s has no value called %q, only: %s",
			client.ErrNotFound, credential.Scope, credential.ID, name, valueNames(credential))
	}
	delete(credential.Data, name)
	credential.Wipe()
	credential.Data = client.Data{name: value}
	return nil
}

// printValue prints the only value.
func (p *program) printValue(credential *client.Credential) error {
	if len(credential.Data) != 1 {
		return usageError{
			fmt.Errorf("%s/%s has %d values: choose one with --name (%s), or print all with -o json or -o env",
				credential.Scope, credential.ID, len(credential.Data), valueNames(credential)),
			"credbus retrieve",
		}
	}
	for _, value := range credential.Data {
		if _, err := p.stdout.Write(value.Bytes()); err != nil {
			return err
		}
	}
	if isTerminal(p.stdout) {
		_, err := p.stdout.WriteString("\n")
		return err
	}
	return nil
}

// plain reports whether a terminal shows a value as it is.
func plain(value []byte) bool {
	return utf8.Valid(value) && !bytes.ContainsFunc(value, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) })
}

func valueNames(credential *client.Credential) string {
	return strings.Join(slices.Sorted(maps.Keys(credential.Data)), ", ")
}
