package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"credbus/internal/filelock"
	"credbus/internal/seal"
	"credbus/internal/seal/kms"
)

// keyringFile is the keyring that a command edits.
type keyringFile struct {
	p    *program
	path string
	wrap string // URI of the key that wraps it
}

func (p *program) keyringFlags(cmd *cobra.Command) *keyringFile {
	f := &keyringFile{p: p}
	cmd.Flags().StringVar(&f.path, "keyring", "", "keyring file of the workers (CREDBUS_KEYRING_FILE, default keyring.json in the data directory)")
	cmd.Flags().StringVar(&f.wrap, "wrap", "", "URI of the key that wraps it, as in keyring.wrap of the workers (CREDBUS_KEYRING_WRAP)")
	return f
}

// file finds the keyring by the rules that a worker follows.
func (f *keyringFile) file(ctx context.Context) (file seal.File, err error) {
	file.Path = cmp.Or(f.path, os.Getenv("CREDBUS_KEYRING_FILE"))
	if file.Path == "" {
		dir, err := f.p.connection.workerDir()
		if err != nil {
			return seal.File{}, usageError{fmt.Errorf("%w: name the keyring with --keyring", err), "credbus keys"}
		}
		file.Path = filepath.Join(dir, "keyring.json")
	}
	// If it is a symbolic link, lock and replace its target: the workers read that.
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

// edit replaces the keyring with the result of change. Only one command edits a file
// at a time, and a reader gets the old keyring or the new one.
func (f *keyringFile) edit(ctx context.Context, change func(*seal.Keyring) (*seal.Keyring, error)) (path string, err error) {
	file, err := f.file(ctx)
	if err != nil {
		return "", err
	}
	return file.Path, f.rewrite(ctx, file, file, change)
}

// rewrite is edit that may also change the wrapping of the file.
func (f *keyringFile) rewrite(ctx context.Context, from, to seal.File, change func(*seal.Keyring) (*seal.Keyring, error)) error {
	return filelock.Edit(ctx, from.Path, func() error {
		keyring, err := from.Open()
		if err != nil {
			return err
		}
		if keyring, err = change(keyring); err != nil {
			return fmt.Errorf("keyring %s: %w", from.Path, err)
		}
		return to.Save(keyring)
	})
}

// mustSeal returns an error unless the keyring holds the key id, with which the workers
// seal. Key numbers are random, so a keyring of other workers lacks it.
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

// try returns the error that edit would return, and edits nothing.
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
