package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/internal/config"
	"credbus/internal/seal"
	"credbus/internal/seal/kms"
)

func (p *program) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Show, add and rotate the keys that seal what is stored",
		Long: `Show, add and rotate the keys that seal what is stored. A keyring has one primary
key, which seals, and any number of others, which still open what they sealed. A
rotation is these steps, none of which stops a read:

  1. add      a new key, which does not seal yet
  2.          copy the keyring to every worker that has a file of its own; each
              reads it within 2 s
  3. primary  have the new key seal what is written from now on, and copy again
  4. rotate   seal everything that is stored again, by the new key
  5. remove   drop the old key, once nothing needs it

rotate --add does all but the last where the workers share one file.

These commands are for who runs the workers. A tenant has no permission for them.`,
	}
	cmd.AddCommand(p.keysListCommand(), p.keysAddCommand(), p.keysPrimaryCommand(), p.keysRotateCommand(), p.keysRemoveCommand(), p.keysWrapCommand(), p.keysUnwrapCommand())
	return cmd
}

func (p *program) keysListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the keys that each replica holds",
		Long: `Show the numbers of the keys that each replica holds, the primary first, and when
it read them. When a replica that is known does not answer, those that did are
shown and the exit status is 6.

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
		return errors.New("the number of a key is wanted, as credbus keys list shows it")
	}
	return nil
}

// parsedKeyID is an argument that keyID has checked.
func parsedKeyID(text string) uint32 {
	id, _ := strconv.ParseUint(text, 10, 32)
	return uint32(id)
}

// keyringFile is the keyring that a command edits.
type keyringFile struct {
	p    *program
	path string
	wrap string // URI of the key that it is wrapped by
}

func (p *program) keyringFlags(cmd *cobra.Command) *keyringFile {
	f := &keyringFile{p: p}
	cmd.Flags().StringVar(&f.path, "keyring", "", "keyring file of the workers (CREDBUS_KEYRING_FILE, default keyring.json in the data directory)")
	cmd.Flags().StringVar(&f.wrap, "wrap", "", "key that it is wrapped by, as keyring.wrap of the workers (CREDBUS_KEYRING_WRAP)")
	return f
}

// file is where the keyring is, by the rules that a worker follows.
func (f *keyringFile) file(ctx context.Context) (file seal.File, err error) {
	file.Path = cmp.Or(f.path, os.Getenv("CREDBUS_KEYRING_FILE"))
	if file.Path == "" {
		dir := cmp.Or(f.p.connection.dataDir, os.Getenv("CREDBUS_DATA_DIR"))
		if dir == "" {
			if dir, err = config.DefaultDataDir(); err != nil {
				return seal.File{}, usageError{fmt.Errorf("%w: name the keyring with --keyring", err), "credbus keys"}
			}
		}
		file.Path = filepath.Join(dir, "keyring.json")
	}
	// Of a symbolic link, what it names is locked and replaced, as the workers read it.
	switch path, err := filepath.EvalSymlinks(file.Path); {
	case err == nil:
		file.Path = path
	case errors.Is(err, fs.ErrNotExist):
		return seal.File{}, fmt.Errorf("there is no keyring at %s: name that of the workers (--keyring), or restore it", file.Path)
	}
	if uri := cmp.Or(f.wrap, os.Getenv("CREDBUS_KEYRING_WRAP")); uri != "" {
		if err := kms.Check(uri); err != nil {
			return seal.File{}, usageError{fmt.Errorf("--wrap: %w", err), "credbus keys"}
		}
		if file.Wrap, err = kms.Open(ctx, uri); err != nil {
			return seal.File{}, fmt.Errorf("--wrap: %w", err)
		}
	}
	return file, nil
}

// edit replaces the keyring by what change makes of it. Only one edits a file at
// a time, and who reads it meanwhile has the old one or the new one.
func (f *keyringFile) edit(ctx context.Context, change func(*seal.Keyring) (*seal.Keyring, error)) (path string, err error) {
	file, err := f.file(ctx)
	if err != nil {
		return "", err
	}
	return file.Path, f.rewrite(ctx, file, file, change)
}

// rewrite is edit that may change what the file is wrapped by as well.
func (f *keyringFile) rewrite(ctx context.Context, from, to seal.File, change func(*seal.Keyring) (*seal.Keyring, error)) error {
	lock := flock.New(from.Path + ".lock")
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch _, err := lock.TryLockContext(wait, 50*time.Millisecond); {
	case errors.Is(err, context.DeadlineExceeded): // which no --timeout makes longer
		return fmt.Errorf("%s is edited by another command: run this again when that has ended", from.Path)
	case err != nil:
		return fmt.Errorf("%s cannot be locked: %w", from.Path, err)
	}
	defer lock.Unlock() //nolint:errcheck // the end of the process does it too
	keyring, err := from.Open()
	if err != nil {
		return err
	}
	if keyring, err = change(keyring); err != nil {
		return fmt.Errorf("keyring %s: %w", from.Path, err)
	}
	return to.Save(keyring)
}

// errOtherKeyring is wrapped by the error of a keyring that is not that of the workers.
var errOtherKeyring = errors.New("it is the keyring of another deployment")

// mustSeal is an error unless the keyring holds a key: the one that the workers seal with.
// The numbers of keys are random, so a keyring of other workers lacks it.
func (f *keyringFile) mustSeal(ctx context.Context, id uint32) error {
	file, err := f.file(ctx)
	if err != nil {
		return err
	}
	keyring, err := file.Open()
	if err != nil {
		return err
	}
	if !keyring.Has(id) {
		return fmt.Errorf("keyring %s does not hold key %d, which the workers seal with, so %w and stays as it is", file.Path, id, errOtherKeyring)
	}
	return nil
}

// try is an error where edit would be one, and edits nothing.
func (f *keyringFile) try(ctx context.Context, change func(*seal.Keyring) (*seal.Keyring, error)) error {
	file, err := f.file(ctx)
	if err != nil {
		return err
	}
	keyring, err := file.Open()
	if err != nil {
		return err
	}
	if _, err := change(keyring); err != nil {
		return fmt.Errorf("keyring %s: %w", file.Path, err)
	}
	return nil
}

// add adds a key.
func (f *keyringFile) add(ctx context.Context) (path string, id uint32, err error) {
	path, err = f.edit(ctx, func(k *seal.Keyring) (added *seal.Keyring, err error) {
		added, id, err = k.Add()
		return added, err
	})
	return path, id, err
}

func primary(id uint32) func(*seal.Keyring) (*seal.Keyring, error) {
	return func(k *seal.Keyring) (*seal.Keyring, error) { return k.WithPrimary(id) }
}

func without(id uint32) func(*seal.Keyring) (*seal.Keyring, error) {
	return func(k *seal.Keyring) (*seal.Keyring, error) { return k.Without(id) }
}

func (p *program) keysAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add a key to a keyring file",
		Long: `Add a new key to a keyring file and print its number. It opens, and seals nothing
until it is made the primary. Workers read the file within 2 s. Copy it to every
worker that has one of its own.`,
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
		Short: "Have another key of a keyring file seal what is written",
		Long: `Make a key of a keyring file the primary, which seals what is written from now
on. First every replica is asked whether it holds the key, since one that does
not could not open what the others seal. Then those that share the file are waited
for, up to 5 s, and the others are named.`,
		Args: keyID,
	}
	file := p.keyringFlags(cmd)
	force := false
	cmd.Flags().BoolVar(&force, "force", false, "do not ask the replicas, where none runs")
	ask := p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		id := parsedKeyID(args[0])
		if err := file.try(ctx, primary(id)); err != nil {
			return err // which no replica could change
		}
		if err := p.held(ctx, c, file, id); err != nil {
			return err
		}
		path, err := file.edit(ctx, primary(id))
		if err != nil {
			return err
		}
		// A rotation by replicas that have not read it yet would be by the old key.
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

// held is an error unless every replica holds a key, and the file one by which they seal.
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

// errReplicasBehind is wrapped by the error that names replicas whose keyring is
// another one.
var errReplicasBehind = errors.New("replicas have another keyring")

// lacking names the replicas for which has is not true.
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
		Long: `Drop a key from a keyring file. First everything that is stored is gone through as
rotate does, and the key stays if anything had to be sealed again: whoever wrote
that a moment ago may write once more. A worker gives up the key when it is
started again, and does not read the file until then. What is in backups of the
store still needs it, as does what a store holds of scopes that are routed to
another one: keep a backup of the keyring as long as of the store, and end a
migration first.`,
		Args: keyID,
	}
	file := p.keyringFlags(cmd)
	force := false
	cmd.Flags().BoolVar(&force, "force", false, "do not go through what is stored; what only this key opens is lost")
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
			return err // before everything is gone through
		}
		r := resealing{p: p, c: c}
		if err := r.samePrimary(ctx); err != nil {
			return err
		}
		if err := file.mustSeal(ctx, r.total.Primary); err != nil {
			return err
		}
		if r.total.Primary == id { // whatever the file says, which may not have reached them
			return fmt.Errorf("key %d is the primary of the replicas: have them seal with another one (credbus keys primary, and copy the file to every worker that has one of its own), then run credbus keys rotate", id)
		}
		switch err := r.pass(ctx, ""); {
		case err != nil:
			return err
		case r.total.Resealed > 0:
			return fmt.Errorf("%s had been sealed by another key than the primary until now, so the key stays: run it again in a minute", count(r.total.Resealed, "credential"))
		case r.failed > 0:
			return fmt.Errorf("%s could not be opened or looked at, so the key stays (--force)", count(r.failed, "credential"))
		case r.changed:
			return errors.New("the key that the replicas seal by changed meanwhile, so the key stays: run it again once credbus keys list shows one primary")
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
