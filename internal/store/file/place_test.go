package file_test

import (
	"os"
	"path/filepath"
	"testing"

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
