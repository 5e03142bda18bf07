package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
)

func (p *program) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Show, add and rotate the keys that seal stored credentials, and show the wire key",
		Long: `Show, add and rotate the keys that seal stored credentials. A keyring has one primary
key, which seals, and any number of others, which only open what they have sealed. A
rotation has these steps, and reads go on during all of them:

  1. add      a new key, which does not seal yet
  2.          copy the keyring to every worker that has a file of its own; each
              reads it within 2 s
  3. primary  let the new key seal all further writes, and copy again
  4. rotate   seal all stored credentials again, with the new key
  5. remove   drop the old key, once nothing needs it

If the workers share one file, rotate --add does all steps but the last.

These commands, but for wire, are for operators. A tenant has no permission for them.`,
	}
	cmd.AddCommand(p.keysListCommand(), p.keysAddCommand(), p.keysPrimaryCommand(), p.keysRotateCommand(), p.keysRemoveCommand(), p.keysWrapCommand(), p.keysUnwrapCommand(), p.keysWireCommand())
	return cmd
}

func (p *program) keysListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the keys that each replica holds",
		Long: `Show the numbers of the keys that each replica holds, the primary first, and when
it read them. If a known replica does not answer, the command shows those that did,
and the exit status is 6.

-o json prints one JSON object.`,
		Args: cobra.NoArgs,
	}
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, _ []string) error {
		keyrings, err := c.Keys(ctx)
		if err != nil {
			return err
		}
		if format.chosen == asJSON {
			err = writeJSON(p.stdout, keyrings)
		} else {
			err = p.printKeys(keyrings)
		}
		return errors.Join(err, missing(keyrings.Missing))
	})
	return cmd
}

func (p *program) keysWireCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wire [SCOPE]",
		Short: "Print the key that signs the workers' keys",
		Long: `Print the wire key: the public key that signs the keys to which clients seal requests and
jobs. All workers have the same one, and it does not change. Give it to a client by
--wire-key, CREDBUS_WIRE_KEY, or WireKey in Go, and the client accepts no other.

An attacker who controls the NATS servers can answer with a key of their own. Run the
command on a worker's machine, or compare the result with what a worker logs at level
debug when it starts.

The command needs permission for seal_key at SCOPE, or at the root if you give none.`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		scope := client.Scope("")
		if len(args) > 0 {
			scope = target(args).Scope
		}
		key, err := c.WireKey(ctx, scope)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.stdout, key)
		return err
	})
	return cmd
}

func (p *program) printKeys(keyrings *client.Keyrings) error {
	table := newTable(p.stdout, "REPLICA", "PRIMARY", "OTHERS", "LOADED")
	for i := range keyrings.Replicas {
		r := &keyrings.Replicas[i]
		var others []string
		for _, key := range r.Keys {
			if !key.Primary {
				others = append(others, keyNumber(key.ID))
			}
		}
		if err := table.row(r.Replica, keyNumber(r.Primary()), strings.Join(others, " "), shown(r.Loaded)); err != nil {
			return err
		}
	}
	return table.flush()
}

func keyNumber(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// keyID is an argument that is the number of a key.
func keyID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return wrongCount(cmd, args)
	}
	if _, err := strconv.ParseUint(args[0], 10, 32); err != nil {
		return errors.New("the argument is not the number of a key: give one that credbus keys list shows")
	}
	return nil
}

// parsedKeyID is an argument that keyID has checked.
func parsedKeyID(text string) uint32 {
	id, _ := strconv.ParseUint(text, 10, 32)
	return uint32(id)
}

// errOtherKeyring is wrapped by the error of a keyring that is not the workers'.
var errOtherKeyring = errors.New("it is the keyring of another deployment")

func (p *program) keysAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add a key to a keyring file",
		Long: `Add a new key to a keyring file and print its number. The key seals nothing until you
make it the primary. Workers read the file within 2 s. Copy it to every worker that
has one of its own.`,
		Args: cobra.NoArgs,
	}
	file := p.keyringFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.begun = true
		path, id, err := file.add(cmd.Context())
		if err != nil {
			return err
		}
		p.say("key %d is in %s: copy the file to every worker that has one of its own, then run credbus keys primary %d", id, path, id)
		_, err = fmt.Fprintln(p.stdout, id)
		return err
	}
	return cmd
}

func (p *program) keysPrimaryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "primary KEY",
		Short: "Make another key of a keyring file seal all further writes",
		Long: `Make a key of a keyring file the primary, which seals all further writes. First, the
command asks every replica whether it holds the key: a replica without it could not
open what the others seal. Then it waits up to 5 s for the replicas that share the
file, and names the others.`,
		Args: keyID,
	}
	file := p.keyringFlags(cmd)
	force := false
	cmd.Flags().BoolVar(&force, "force", false, "do not ask the replicas, if none runs")
	ask := p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		id := parsedKeyID(args[0])
		if err := file.try(ctx, primary(id)); err != nil {
			return err // the replicas cannot change that
		}
		if err := p.held(ctx, c, file, id); err != nil {
			return err
		}
		path, err := file.edit(ctx, primary(id))
		if err != nil {
			return err
		}
		// Replicas that have not read the file yet would rotate with the old key.
		r := resealing{p: p, c: c, wait: 5 * time.Second}
		if err := r.await(ctx, id, "does not seal with key", sealsWith); err != nil {
			p.say("key %d is the primary in %s, but %v: copy the file to every worker that has one of its own, then run credbus keys rotate once credbus keys list shows it", id, path, err)
			return ctx.Err()
		}
		p.say("key %d seals from now on, at every replica: run credbus keys rotate", id)
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !force {
			return ask(cmd, args)
		}
		p.begun = true
		path, err := file.edit(cmd.Context(), primary(parsedKeyID(args[0])))
		if err == nil {
			p.say("key %s seals from now on: copy %s to every worker that has one of its own, then run credbus keys rotate", args[0], path)
		}
		return err
	}
	return cmd
}

// held returns an error unless every replica holds the key id, and the file their primary.
func (p *program) held(ctx context.Context, c *client.Client, file *keyringFile, id uint32) error {
	keyrings, err := c.Keys(ctx)
	if err != nil {
		return fmt.Errorf("the replicas cannot be asked whether they hold the key (--force does not ask): %w", err)
	}
	if err := missing(keyrings.Missing); err != nil {
		return err
	}
	if len(keyrings.Replicas) > 0 {
		if err := file.mustSeal(ctx, keyrings.Replicas[0].Primary()); err != nil {
			return err
		}
	}
	return lacking(keyrings, id, "does not hold key", (*client.ReplicaKeys).Has)
}

// errReplicasBehind is wrapped by the error that names replicas with another
// keyring.
var errReplicasBehind = errors.New("replicas have another keyring")

// lacking returns an error that names the replicas for which has is false.
func lacking(keyrings *client.Keyrings, id uint32, what string, has func(*client.ReplicaKeys, uint32) bool) error {
	var behind []string
	for i := range keyrings.Replicas {
		if r := &keyrings.Replicas[i]; !has(r, id) {
			behind = append(behind, r.Replica)
		}
	}
	if len(behind) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s %s %d", errReplicasBehind, strings.Join(behind, ", "), what, id)
}

func sealsWith(r *client.ReplicaKeys, id uint32) bool { return r.Primary() == id }

func (p *program) keysRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove KEY",
		Short: "Drop a key from a keyring file once nothing needs it",
		Long: `Drop a key from a keyring file. First, the command goes through all stored credentials,
as rotate does. If it had to seal one again, the key stays: the worker that wrote it a
moment ago may write another with the old key. A worker keeps the key until it is
started again, and does not read the file until then. Backups of the store still need
the key, and so do credentials in a store whose scopes are routed to another one: keep a
backup of the keyring as long as one of the store, and end a migration first.`,
		Args: keyID,
	}
	file := p.keyringFlags(cmd)
	force := false
	cmd.Flags().BoolVar(&force, "force", false, "do not go through the stored credentials; those that only this key opens are lost")
	edit := func(ctx context.Context, id uint32) error {
		path, err := file.edit(ctx, without(id))
		if err != nil {
			return err
		}
		p.say("key %d is no longer in %s: copy the file to every worker that has one of its own, and start all workers again, one after the other; until then they keep the key, and do not read the file", id, path)
		return nil
	}
	ask := p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		id := parsedKeyID(args[0])
		if err := file.try(ctx, without(id)); err != nil {
			return err // before the long pass
		}
		r := resealing{p: p, c: c}
		if err := r.samePrimary(ctx); err != nil {
			return err
		}
		if err := file.mustSeal(ctx, r.total.Primary); err != nil {
			return err
		}
		if r.total.Primary == id { // they may not have read the file yet
			return fmt.Errorf("key %d is the primary of the replicas: make them seal with another one (credbus keys primary, and copy the file to every worker that has one of its own), then run credbus keys rotate", id)
		}
		switch err := r.pass(ctx, ""); {
		case err != nil:
			return err
		case r.total.Resealed > 0:
			return fmt.Errorf("%s had been sealed by another key than the primary until now, so the key stays: run it again in a minute", count(r.total.Resealed, "credential"))
		case r.failed > 0:
			return fmt.Errorf("%s could not be read or opened, as said above, so the key stays: restore or delete them, or give --force", count(r.failed, "credential"))
		case r.changed:
			return errors.New("the primary key of the replicas changed meanwhile, so this key stays: run it again once credbus keys list shows one primary")
		}
		return edit(ctx, id)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !force {
			return ask(cmd, args)
		}
		p.begun = true
		return edit(cmd.Context(), parsedKeyID(args[0]))
	}
	return cmd
}
