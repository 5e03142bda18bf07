package filelock_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"credbus/internal/filelock"
)

// Each edit reads what the one before has written.
func TestEditsTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var editing sync.WaitGroup
	const edits = 8
	for range edits {
		editing.Go(func() {
			err := filelock.Edit(t.Context(), path, func() error {
				text, err := os.ReadFile(path)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				for range 100 { // others would read the same text now
					runtime.Gosched()
				}
				return os.WriteFile(path, append(text, '.'), 0o600)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	editing.Wait()
	if text, err := os.ReadFile(path); err != nil || len(text) != edits {
		t.Errorf("%d of %d edits are there: %v", len(text), edits, err)
	}
}

func TestEditReturnsItsError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	failure := errors.New("failed")
	for range 2 { // the lock is free again
		if err := filelock.Edit(t.Context(), path, func() error { return failure }); !errors.Is(err, failure) {
			t.Errorf("%v", err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	unlocked := func() error { t.Error("edits after the end of its context"); return nil }
	held := make(chan struct{})
	err := filelock.Edit(t.Context(), path, func() error {
		defer close(held)
		return filelock.Edit(ended, path, unlocked)
	})
	if <-held; !errors.Is(err, context.Canceled) {
		t.Errorf("while another edits, without time: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "none", "file")
	if err := filelock.Edit(t.Context(), missing, unlocked); err == nil {
		t.Error("a directory that is missing can be locked")
	}
}
