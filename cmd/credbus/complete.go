package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

const (
	// completionTimeout bounds what a person waits for after the tab key.
	completionTimeout = time.Second
	// completionItems bounds how many credentials are looked at.
	completionItems = 1000
)

// completeNames completes a scope and, where a command takes two names, an ID
// with what is stored. It proposes nothing when no worker answers.
func (p *program) completeNames(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		var found []string
		// What fails here shows when the command itself is run.
		_ = p.withClient(ctx, args, func(ctx context.Context, c *client.Client, args []string) (err error) {
			if len(args) == 0 {
				found, err = scopesOf(ctx, c, begun)
			} else {
				found, err = idsOf(ctx, c, target(args).Scope, begun)
			}
			return err
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// scopesOf are the scopes that begin with what was typed. It asks at the
// deepest scope that is complete, since who may act there may not act above.
func scopesOf(ctx context.Context, c *client.Client, begun string) ([]string, error) {
	var found []string
	looked := 0
	for credential, err := range c.List(ctx, subjects.Scope(begun).Parent(), &client.ListOptions{PageSize: completionItems}) {
		if err != nil {
			return found, err
		}
		if scope := string(credential.Scope); strings.HasPrefix(scope, begun) && !slices.Contains(found, scope) {
			found = append(found, scope)
		}
		if looked++; looked == completionItems {
			break
		}
	}
	return found, nil
}

// idsOf are the IDs in exactly this scope that begin with what was typed.
func idsOf(ctx context.Context, c *client.Client, scope subjects.Scope, begun string) ([]string, error) {
	var found []string
	looked := 0
	for credential, err := range c.List(ctx, scope, &client.ListOptions{IDPrefix: begun, PageSize: completionItems}) {
		if err != nil {
			return found, err
		}
		if credential.Scope == scope {
			found = append(found, string(credential.ID))
		}
		if looked++; looked == completionItems {
			break
		}
	}
	return found, nil
}
