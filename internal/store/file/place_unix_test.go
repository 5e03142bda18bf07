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

// Windows lets nobody rename a directory that is open, so there these cannot happen.

// wantUnavailable checks that nothing at the path of s is taken for the store.
func wantUnavailable(t *testing.T, s *file.Store, what string) {
	t.Helper()
	if err := putAt(t, s, "lost"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%s: a write: %v", what, err)
	}
	if _, err := payloadAt(t, s); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%s: a read: %v", what, err)
	}
}

// A directory that was renamed away and replaced by a copy of it, as a restore does,
// is followed: nothing is written into the one that nobody finds any more.
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
		wantUnavailable(t, s, "a directory that is gone")
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
			t.Fatal("nobody was told that everything may have changed")
		}
	}
	if err := putAt(t, s, "third"); err != nil {
		t.Fatal(err)
	}
	if got, err := payloadAt(t, newStoreAt(t, dir)); err != nil || got != "third" {
		t.Errorf("what was acknowledged after the restore is %q, %v to another process", got, err)
	}
}

// Another store in its place, or an empty directory such as a mount point, is not
// taken for the same.
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
