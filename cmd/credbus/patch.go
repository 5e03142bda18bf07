package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) patchCommand() *cobra.Command {
	var (
		in         input
		metadata   metadataFlags
		patch      client.Patch
		removeTags nameList
		removeData nameList
		noExpires  bool
	)
	cmd := &cobra.Command{
		Use:   "patch SCOPE ID",
		Short: "Change one thing of a credential, and keep the rest",
		Long: `Change one thing of a credential that exists, and keep the rest: a value, a tag, the
expiry, or several of them. Changes that others make at the same time are not lost.

stdin is not read unless --file - or --data-file NAME=- says so. At least one named
value must remain: to remove a credential, use credbus delete. Removing
a name or tag that does not exist is not an error; a message says so.

With a new value, the age for the rotation policy starts again. Other changes do not
affect it.`,
		Example: `  credbus patch org:acme/team:eng db --tag owner=eng --remove-tag stage
  credbus patch org:acme/team:eng db --expires 90d
  pwgen 32 1 | tr -d '\n' | credbus patch org:acme/team:eng db --data-file password=-`,
		Args:              names(2, 2),
		ValidArgsFunction: p.completeNames(2),
	}
	flags := cmd.Flags()
	in.register(flags)
	flags.Var(&removeData, "remove-data", "remove the value called NAME (repeatable)")
	metadata.register(flags)
	flags.Var(&removeTags, "remove-tag", "remove the tag called NAME (repeatable)")
	flags.BoolVar(&patch.RemoveAllTags, "no-tags", false, "remove all tags")
	flags.BoolVar(&noExpires, "no-expires", false, "remove the expiry")
	flags.StringVar(&patch.Version, "if-version", "", "fail if it is not at this version")
	flags.StringVar(&patch.RequestID, "request-id", "", "repeat an earlier patch whose outcome is not known; it takes effect once")
	cmd.MarkFlagsMutuallyExclusive("expires", "no-expires")
	cmd.MarkFlagsMutuallyExclusive("tag", "no-tags")
	cmd.MarkFlagsMutuallyExclusive("remove-tag", "no-tags")
	format := formatFlag(cmd, asText, asJSON)

	values := false // whether any is given
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		in.given = cmd.Flags().Changed("value")
		values = in.given || in.file != "" || len(in.named.m)+len(in.files.m) > 0
		metadata.change(&patch)
		patch.RemoveData, patch.RemoveTags = removeData, removeTags
		if noExpires {
			patch.Expires = new(time.Time)
		}
		if !values && len(patch.RemoveData)+len(patch.Tags)+len(patch.RemoveTags) == 0 && !patch.RemoveAllTags &&
			patch.Description == nil && patch.Expires == nil && patch.RotationDays == nil && patch.Inheritable == nil {
			return errors.New("there is nothing to change: give a value (--file - reads stdin), or another flag")
		}
		return in.check()
	}
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		target := target(args)
		if values {
			data, err := p.data(ctx, target, &in)
			if err != nil {
				return err
			}
			defer data.Wipe()
			patch.Data = data
		}
		patched, err := c.Patch(ctx, target.Scope, target.ID, patch)
		if err != nil {
			return err
		}
		for _, name := range patched.AbsentData {
			p.say("note: there was no value called %s to remove", name)
		}
		for _, key := range patched.AbsentTags {
			p.say("note: there was no tag %s to remove", key)
		}
		p.warnExpired(&patched.Kept)
		if format.chosen == asJSON {
			patched.Revision = subjects.Revision{}
			return writeJSON(p.stdout, patched)
		}
		_, err = fmt.Fprintf(p.stdout, "patched %s, version %s\n", target, patched.Version)
		return err
	})
	return cmd
}

// metadataFlags are the flags for the metadata of a credential.
type metadataFlags struct {
	flags        *pflag.FlagSet
	description  string
	tags         pairs
	expires      moment
	rotationDays int
	inheritable  bool
}

func (m *metadataFlags) register(flags *pflag.FlagSet) {
	m.flags = flags
	flags.StringVar(&m.description, "description", "", "what it is for, at most 1,024 characters; not secret")
	flags.Var(&m.tags, "tag", "a tag, not secret (repeatable, at most 50)")
	flags.Var(&m.expires, "expires", "when it expires: "+momentHelp)
	flags.IntVar(&m.rotationDays, "rotation-days", 0, "how many days old the value may become before rotation is due; 0 for no policy")
	flags.BoolVar(&m.inheritable, "inheritable", false, "let scopes below read it with --inherit")
}

// change makes a patch set the metadata that was given.
func (m *metadataFlags) change(patch *client.Patch) {
	patch.Tags = m.tags.m
	if m.flags.Changed("description") {
		patch.Description = &m.description
	}
	if m.flags.Changed("expires") {
		patch.Expires = &m.expires.Time
	}
	if m.flags.Changed("rotation-days") {
		patch.RotationDays = &m.rotationDays
	}
	if m.flags.Changed("inheritable") {
		patch.Inheritable = &m.inheritable
	}
}

// fill makes a store set the metadata that was given, and nothing else.
func (m *metadataFlags) fill(options *client.StoreOptions) {
	options.Description, options.Tags, options.Expires = m.description, m.tags.m, m.expires.Time
	options.RotationDays, options.Inheritable = m.rotationDays, m.inheritable
}

// nameList is a repeatable flag of a name.
type nameList []string

// String shows nothing: a value may have slipped in.
func (n *nameList) String() string { return "" }

// Type is what the help calls the flag's value.
func (n *nameList) Type() string { return "NAME" }

// Set adds a name.
func (n *nameList) Set(text string) error {
	if text == "" {
		return errors.New("write NAME")
	}
	*n = append(*n, text)
	return nil
}

// keptText lists what a write kept, "" if nothing.
func keptText(kept *client.Kept) string {
	var parts []string
	if kept.Values > 0 {
		parts = append(parts, count(kept.Values, "other value"))
	}
	if kept.Tags > 0 {
		parts = append(parts, count(kept.Tags, "tag"))
	}
	if kept.Description {
		parts = append(parts, "the description")
	}
	if !kept.Expires.IsZero() {
		parts = append(parts, "the expiry "+kept.Expires.Format(time.RFC3339))
	}
	if kept.RotationDays > 0 {
		parts = append(parts, "rotation every "+count(kept.RotationDays, "day"))
	}
	if kept.Inheritable {
		parts = append(parts, "inheritable")
	}
	return strings.Join(parts, ", ")
}
