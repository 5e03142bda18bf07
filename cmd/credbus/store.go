package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) storeCommand() *cobra.Command {
	s := storing{p: p}
	cmd := &cobra.Command{
		Use:   "store SCOPE ID",
		Short: "Store a value: create a credential, or change an existing one",
		Long: `Store a value: create a credential, or change an existing one. An existing credential
keeps everything that is not given: the other named values, description, tags, expiry,
rotation policy and whether it is inheritable. stderr says what was kept. --replace
keeps nothing. To change metadata alone, or to remove something, use credbus patch.

The value comes from stdin, byte for byte: a newline at its end is part of it
(echo -n and printf leave it out). On a terminal, the command asks for it twice,
without echo. The Enter key that ends it is not part of it; all lines of a paste are.
If the terminal does not mark pastes, Ctrl-D ends a paste of several lines. Values
together hold at most 65,536 bytes (64 KiB); their names do not count.`,
		Example: `  echo -n s3cret | credbus store org:acme/team:eng db-password
  credbus store org:acme/team:eng tls --data-file cert=./c.pem --data-file key=./k.pem --expires 90d
  pwgen 32 1 | tr -d '\n' | credbus store org:acme token --tag env=prod --rotation-days 30`,
		Args:              names(2, 2),
		ValidArgsFunction: p.completeNames(2),
	}
	flags := cmd.Flags()
	s.in.register(flags)
	s.metadata.register(flags)
	flags.BoolVar(&s.replace, "replace", false, "keep nothing of a credential that exists")
	flags.BoolVar(&s.createOnly, "create-only", false, "fail if it exists")
	flags.BoolVar(&s.updateOnly, "update-only", false, "fail if it does not exist")
	flags.StringVar(&s.version, "if-version", "", "fail if it is not at this version")
	flags.StringVar(&s.requestID, "request-id", "", "repeat an earlier write whose outcome is not known; it takes effect once")
	cmd.MarkFlagsMutuallyExclusive("create-only", "update-only", "if-version")
	cmd.MarkFlagsMutuallyExclusive("create-only", "replace")
	format := formatFlag(cmd, asText, asJSON)

	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		s.in.given = cmd.Flags().Changed("value")
		return s.in.check()
	}
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		target := target(args)
		data, err := p.data(ctx, target, &s.in)
		if err != nil {
			return err
		}
		defer data.Wipe()
		stored, err := s.store(ctx, c, target, data)
		if err != nil {
			return err
		}
		p.sayKept(&stored.Kept, "--replace would keep nothing")
		if format.chosen == asJSON {
			stored.Revision = subjects.Revision{}
			return writeJSON(p.stdout, stored)
		}
		_, err = fmt.Fprintf(p.stdout, "stored %s, version %s\n", target, stored.Version)
		return err
	})
	return cmd
}

// storing is one call of credbus store.
type storing struct {
	p                               *program
	in                              input
	metadata                        metadataFlags
	replace, createOnly, updateOnly bool
	version, requestID              string
}

// store changes a credential, or creates the one that does not exist:
//
//	patch ── not_found ─► store, create only ── already_exists ─► patch ─► ...
//
// If others create or delete it in between, their change counts.
func (s *storing) store(ctx context.Context, c *client.Client, target client.Target, data client.Data) (*client.Patched, error) {
	if s.replace || s.createOnly {
		return s.replaceAll(ctx, c, target, data, s.createOnly)
	}
	const most = 5 // tries, while others create and delete it
	for try := 1; ; try++ {
		patch := client.Patch{Data: data, Version: s.version, RequestID: s.requestID}
		s.metadata.change(&patch)
		patched, err := c.Patch(ctx, target.Scope, target.ID, patch)
		if errors.Is(err, client.ErrDecryptFailed) {
			return nil, as(errUnkept, err)
		}
		if s.updateOnly || s.version != "" || !errors.Is(err, client.ErrNotFound) || fateUnknown(err) {
			return patched, err
		}
		created, err := s.replaceAll(ctx, c, target, data, true)
		if !errors.Is(err, client.ErrAlreadyExists) || fateUnknown(err) {
			return created, err
		}
		if try == most {
			return nil, verdict{fmt.Sprintf("nothing was stored: others create and delete %s all the time: try again", target), exitConflict}
		}
	}
}

// errUnkept is the error of a credential that cannot be read, so that nothing of it can be kept.
var errUnkept = errors.New("nothing of the existing credential can be kept")

// replaceAll stores the given values and metadata, and keeps nothing.
func (s *storing) replaceAll(ctx context.Context, c *client.Client, target client.Target, data client.Data, createOnly bool) (*client.Patched, error) {
	options := &client.StoreOptions{CreateOnly: createOnly, UpdateOnly: s.updateOnly, Version: s.version, RequestID: s.requestID}
	s.metadata.fill(options)
	version, err := c.Store(ctx, target.Scope, target.ID, data, options)
	if err != nil {
		return nil, err
	}
	return &client.Patched{Target: target, Version: version}, nil
}

// fateUnknown reports whether a write may have taken effect all the same.
func fateUnknown(err error) bool {
	_, unknown := errors.AsType[*client.OutcomeUnknownError](err)
	return unknown
}

// sayKept says what a write kept, and what to do about that.
func (p *program) sayKept(kept *client.Kept, advice string) {
	if text := keptText(kept); text != "" {
		p.say("kept %s: %s", text, advice)
	}
	p.warnExpired(kept)
}

// warnExpired warns that a credential keeps an expiry that has passed.
func (p *program) warnExpired(kept *client.Kept) {
	if at := kept.Expires; !at.IsZero() && !at.After(time.Now()) {
		p.say("warning: it expired at %s: --expires gives it a new time", at.Format(time.RFC3339))
	}
}
