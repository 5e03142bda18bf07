package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"credbus/internal/seal"
)

// If another command holds the lock of the file, the error is not about a reply that is late.
func TestKeyringIsLocked(t *testing.T) {
	file := seal.File{Path: filepath.Join(t.TempDir(), "keyring.json")}
	if _, err := file.Create(); err != nil {
		t.Fatal(err)
	}
	lock := flock.New(file.Path + ".lock")
	if held, err := lock.TryLock(); err != nil || !held {
		t.Fatal(held, err)
	}
	defer lock.Unlock() //nolint:errcheck // the directory goes with the test
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := new(keyringFile).rewrite(ctx, file, file, nil)
	if err == nil || !strings.Contains(err.Error(), "is edited by another command: run this again") || errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
