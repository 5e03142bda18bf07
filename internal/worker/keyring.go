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
	"credbus/internal/sealkeys"
	"credbus/internal/store"
)

// openKeyring opens the keyring. If there is none, it makes one, unless a store
// holds records that only the missing one opens.
func (w *Worker) openKeyring(ctx context.Context) error {
	if !slices.ContainsFunc(w.stores, func(o *opened) bool { return o.config.Type != "memory" }) {
		keyring, err := seal.NewKeyring() // lost together with the records that it sealed
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

// keysConfig describes the keys that clients seal to.
func (w *Worker) keysConfig() sealkeys.Config {
	return sealkeys.Config{
		Conn: w.conn, Keyring: w.keyring, Fleeting: w.keyringFile.Path == "", Now: w.serverTime,
		Prefix: w.config.NATS.Prefix, Stream: w.config.Jobs.Stream, Replicas: w.config.Stream.Replicas, Logger: w.logger,
	}
}

// openKeys opens the keys that clients seal to. Workers without jobs need them too: clients
// seal requests to them.
func (w *Worker) openKeys(ctx context.Context) (err error) {
	if w.keys, err = sealkeys.Open(ctx, w.keysConfig()); err != nil {
		return err
	}
	w.following.Go(w.keys.Run)
	return nil
}

// probeKeyring returns the numbers of the keys in the keyring, none if there is no file.
func (w *Worker) probeKeyring(ctx context.Context) ([]uint32, error) {
	ids := []uint32{} // not nil: the keys are known
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
			continue // its records open without a keyring
		}
		empty, err := isEmpty(ctx, o.guarded)
		if err != nil {
			return nil, fmt.Errorf("it is missing, and the worker cannot find out whether it is needed: %s: %w", config.StoreKey(o.name), err)
		}
		if !empty {
			return nil, fmt.Errorf("%s is missing, and the store (%s) holds credentials that only this keyring opens: restore it from a backup, copy it from a worker that shares the store, or name the right file",
				file.Path, config.StoreKey(o.name))
		}
	}
	// Check first: if joinDeployment stopped the start, it would leave a
	// keyring behind.
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
