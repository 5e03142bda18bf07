package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"credbus/internal/config"
	"credbus/internal/seal"
	"credbus/internal/seal/kms"
	"credbus/internal/store"
)

// openKeyring makes a keyring where there is none, unless a store holds what
// only the missing one opens.
func (w *Worker) openKeyring(ctx context.Context) error {
	if !slices.ContainsFunc(w.stores, func(o *opened) bool { return o.config.Type != "memory" }) {
		keyring, err := seal.NewKeyring() // which is gone when what it sealed is
		if err != nil {
			return err
		}
		w.keyring = seal.NewLive(keyring, seal.LiveConfig{Logger: w.logger})
		return nil
	}
	file, err := w.keyringOf(ctx)
	if err != nil {
		return err
	}
	keyring, err := w.readKeyring(ctx, file)
	if err != nil {
		return fmt.Errorf("keyring.file: %w", err)
	}
	w.keyringFile = file
	w.keyring = seal.NewLive(keyring, seal.LiveConfig{File: file, Logger: w.logger})
	return nil
}

func (w *Worker) keyringOf(ctx context.Context) (file seal.File, err error) {
	file.Path = w.config.Keyring.File
	if uri := w.config.Keyring.Wrap; uri != "" {
		if file.Wrap, err = kms.Open(ctx, uri); err != nil {
			return file, fmt.Errorf("keyring.wrap: %w", err)
		}
	}
	return file, nil
}

// probeKeyring returns the numbers of the keys in the keyring, none if there is no file.
func (w *Worker) probeKeyring(ctx context.Context) ([]uint32, error) {
	ids := []uint32{} // not nil: they are known
	file, err := w.keyringOf(ctx)
	if err != nil {
		return nil, err
	}
	keyring, err := file.Open()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ids, nil
	case err != nil:
		return nil, fmt.Errorf("keyring.file: %w", err)
	}
	for _, key := range keyring.Keys() {
		ids = append(ids, key.ID)
	}
	return ids, nil
}

func (w *Worker) readKeyring(ctx context.Context, file seal.File) (*seal.Keyring, error) {
	keyring, err := file.Open()
	if !errors.Is(err, fs.ErrNotExist) {
		return keyring, err
	}
	for _, o := range w.stores {
		if o.config.Native() {
			continue // what is there opens without
		}
		empty, err := isEmpty(ctx, o.guarded)
		if err != nil {
			return nil, fmt.Errorf("it is missing, and whether it is needed cannot be told: %s: %w", config.StoreKey(o.name), err)
		}
		if !empty {
			return nil, fmt.Errorf("%s is missing, and the store (%s) holds credentials that only it opens: put it back from a backup, copy it from a worker that shares the store, or name the right one",
				file.Path, config.StoreKey(o.name))
		}
	}
	// joinDeployment would stop the start, and leave a keyring behind.
	own, err := w.deploymentRecord(ctx)
	if err == nil {
		err = w.deployment.Foresee(ctx, own)
	}
	if err != nil {
		return nil, err
	}
	keyring, err = file.Create()
	if errors.Is(err, fs.ErrExist) { // another worker was faster
		return file.Open()
	}
	return keyring, err
}

func isEmpty(ctx context.Context, s store.Store) (bool, error) {
	for opts := (store.ListOptions{Limit: 1}); ; {
		page, err := s.List(ctx, opts)
		if err != nil || len(page.Records) > 0 || page.Next == "" {
			return len(page.Records) == 0, err
		}
		opts.After = page.Next
	}
}
