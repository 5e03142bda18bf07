package main

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

const (
	// completionTimeout bounds how long a user waits after the tab key.
	completionTimeout = time.Second
	// completionItems bounds how many names are proposed.
	completionItems = 1000
	completionPage  = 1000
)

// completeNames completes a scope and, if a command takes two names, an ID of
// a stored credential. It proposes nothing if no worker answers.
func (p *program) completeNames(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		var found []string
		// The command itself will report an error.
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

// scopesOf are the scopes that begin with the typed text. It lists the deepest
// scope that is complete: the user may have no permission above it.
func scopesOf(ctx context.Context, c *client.Client, begun string) ([]string, error) {
	return collect(c.List(ctx, subjects.Scope(begun).Parent(), &client.ListOptions{PageSize: completionPage}), func(credential *client.Credential) string {
		if scope := string(credential.Scope); strings.HasPrefix(scope, begun) {
			return scope
		}
		return ""
	})
}

// idsOf are the IDs in exactly this scope that begin with the typed text.
func idsOf(ctx context.Context, c *client.Client, scope subjects.Scope, begun string) ([]string, error) {
	return collect(c.List(ctx, scope, &client.ListOptions{IDPrefix: begun, PageSize: completionPage}), func(credential *client.Credential) string {
		if credential.Scope == scope {
			return string(credential.ID)
		}
		return ""
	})
}

// collect returns the names that name finds, each once. With an error, it returns those
// that it found before.
func collect[T any](all iter.Seq2[T, error], name func(T) string) (found []string, err error) {
	known := make(map[string]bool)
	for item, err := range all {
		if err != nil {
			return found, err
		}
		if text := name(item); text != "" && !known[text] {
			known[text] = true
			if found = append(found, text); len(found) == completionItems {
				break
			}
		}
	}
	return found, nil
}
