//go:build !windows

package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/file"
)

// Windows does not allow renaming an open directory, so these cases cannot
// happen there.

// wantUnavailable checks that s refuses the present directory at its path.
func wantUnavailable(t *testing.T, s *file.Store, what string) {
	t.Helper()
	if err := putAt(t, s, "lost"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%s: a write: %v", what, err)
	}
	if _, err := payloadAt(t, s); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%s: a read: %v", what, err)
	}
}

// A restore renames the directory away and puts a copy in its place. The store
// follows: it writes nothing into the directory that was renamed.
func TestDirectoryIsRestored(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := newStoreAt(t, dir)
	if err := putAt(t, s, "first"); err != nil {
		t.Fatal(err)
	}
	copyDir(t, dir, dir+".backup")
	changes := make(chan store.Change, 100)
	go s.Watch(t.Context(), func(c store.Change) { changes <- c }) //nolint:errcheck // it ends with the store
	<-changes
	if err := putAt(t, s, "second"); err != nil {
		t.Fatal(err)
	}
	rename(t, dir, dir+".away")
	for range 2 {
		wantUnavailable(t, s, "a missing directory")
	}
	rename(t, dir+".backup", dir)
	if got, err := payloadAt(t, s); err != nil || got != "first" {
		t.Errorf("after the restore: %q, %v", got, err)
	}
	for all := false; !all; {
		select {
		case c := <-changes:
			all = c.All
		case <-time.After(20 * time.Second):
			t.Fatal("the watch does not report that everything may have changed")
		}
	}
	if err := putAt(t, s, "third"); err != nil {
		t.Fatal(err)
	}
	if got, err := payloadAt(t, newStoreAt(t, dir)); err != nil || got != "third" {
		t.Errorf("a write after the restore: another process reads %q, %v", got, err)
	}
}

// The store does not accept another store in its place, nor an empty directory such
// as a mount point.
func TestDirectoryIsAnother(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := newStoreAt(t, dir)
	if err := putAt(t, s, "first"); err != nil {
		t.Fatal(err)
	}
	rename(t, dir, dir+".away")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, s, "an empty directory")
	newStoreAt(t, dir)
	wantUnavailable(t, s, "another store")
	rename(t, dir, dir+".other")
	rename(t, dir+".away", dir)
	if got, err := payloadAt(t, s); err != nil || got != "first" {
		t.Errorf("back again: %q, %v", got, err)
	}
	if err := putAt(t, s, "second"); err != nil {
		t.Error(err)
	}
}
