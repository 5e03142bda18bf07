package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/file"
)

func newStoreAt(t *testing.T, dir string) *file.Store {
	t.Helper()
	s, err := file.New(file.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var placeKey = store.Key{Scope: "org:acme", ID: "db"}

func putAt(t *testing.T, s *file.Store, write string) error {
	t.Helper()
	_, err := s.Put(t.Context(), &store.Record{Key: placeKey, WriteID: write, Payload: []byte(write)}, store.Precondition{})
	return err
}

func payloadAt(t *testing.T, s *file.Store) (string, error) {
	t.Helper()
	rec, err := s.Get(t.Context(), placeKey)
	if err != nil {
		return "", err
	}
	return string(rec.Payload), nil
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// The directory has one identity for all who use it, and keeps it.
func TestIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	identity := func(s *file.Store) string {
		t.Helper()
		text, err := s.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	one := identity(newStoreAt(t, dir))
	if again := identity(newStoreAt(t, dir)); again != one {
		t.Errorf("another process finds %s, the first one %s", again, one)
	}
	if other := identity(newStoreAt(t, filepath.Join(t.TempDir(), "store"))); other == one {
		t.Error("two directories have one identity")
	}
	if err := os.WriteFile(filepath.Join(dir, "identity"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.New(file.Config{Dir: dir}); err == nil {
		t.Error("a store with a damaged identity was opened")
	}
}

// A directory that was renamed away and replaced by a copy of it, as a restore does,
// is followed: nothing is written into the one that nobody finds any more.
func TestDirectoryIsRestored(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a directory that is open cannot be renamed")
	}
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
		if err := putAt(t, s, "lost"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a write to a directory that is gone: %v", err)
		}
		if _, err := payloadAt(t, s); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a read: %v", err)
		}
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
	if runtime.GOOS == "windows" {
		t.Skip("a directory that is open cannot be renamed")
	}
	dir := filepath.Join(t.TempDir(), "store")
	s := newStoreAt(t, dir)
	if err := putAt(t, s, "first"); err != nil {
		t.Fatal(err)
	}
	rename(t, dir, dir+".away")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		if err := putAt(t, s, "lost"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: a write: %v", what, err)
		}
		if _, err := payloadAt(t, s); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: a read: %v", what, err)
		}
	}
	check("an empty directory")
	newStoreAt(t, dir)
	check("another store")
	rename(t, dir, dir+".other")
	rename(t, dir+".away", dir)
	if got, err := payloadAt(t, s); err != nil || got != "first" {
		t.Errorf("back again: %q, %v", got, err)
	}
	if err := putAt(t, s, "second"); err != nil {
		t.Error(err)
	}
}
