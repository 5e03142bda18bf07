package file_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/subjects"
)

func newStoreAt(t *testing.T, dir string) *file.Store {
	t.Helper()
	s, err := file.New(file.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

var placeKey = subjects.Target{Scope: "org:acme", ID: "db"}

func putAt(t *testing.T, s *file.Store, write string) error {
	t.Helper()
	_, err := s.Put(t.Context(), &store.Record{Target: placeKey, WriteID: write, Payload: []byte(write)}, store.Precondition{})
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

// The directory has one permanent identity for all its users.
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

// A mark is found in its directory, but not in an earlier copy.
func TestMark(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	one, same := newStoreAt(t, dir), newStoreAt(t, dir)
	clone := filepath.Join(t.TempDir(), "clone")
	copyDir(t, dir, clone)
	other := newStoreAt(t, clone)
	mark, remove, err := one.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := func(s *file.Store, mark string) bool {
		t.Helper()
		found, err := s.HasMark(t.Context(), mark)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	newStoreAt(t, dir) // its sweep must leave the mark
	if !found(same, mark) {
		t.Error("another process does not find the mark")
	}
	if found(other, mark) {
		t.Error("a copy has the mark")
	}
	for _, hostile := range []string{"", "identity", ".", "../" + filepath.Base(dir) + "/" + mark, ".mark-/../identity"} {
		if found(one, hostile) {
			t.Errorf("%q counts as a mark", hostile)
		}
	}
	remove()
	if found(same, mark) {
		t.Error("a mark stays after it was removed")
	}
	left, _, err := one.Mark(t.Context()) // by a process that dies
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, left), long, long); err != nil {
		t.Fatal(err)
	}
	newStoreAt(t, dir)
	if found(same, left) {
		t.Error("the mark of a process that died stays")
	}
}
