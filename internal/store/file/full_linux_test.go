package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// On a full disk the store refuses writes and nothing else. It accepts them again
// when there is room.
func TestFullDisk(t *testing.T) {
	disk := testbed.SmallDisk(t, "1m")
	s := newStoreAt(t, filepath.Join(disk, "store"))
	defer s.Close(t.Context()) // before the disk is removed
	if err := putAt(t, s, "first"); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	testbed.Fill(t, filler)
	if err := putAt(t, s, "second"); !errors.Is(err, store.ErrFull) {
		t.Errorf("a write without room: %v", err)
	}
	if got, err := payloadAt(t, s); err != nil || got != "first" {
		t.Errorf("a read: %q, %v", got, err)
	}
	// The lock of this key has no file yet, so it needs room as well.
	other := subjects.Target{Scope: "org:acme", ID: "other"}
	if _, err := s.Put(t.Context(), &store.Record{Target: other, WriteID: "w", Payload: []byte("w")}, store.Precondition{}); !errors.Is(err, store.ErrFull) {
		t.Errorf("the first write of a key without room: %v", err)
	}
	restarted, err := file.New(file.Config{Dir: filepath.Join(disk, "store")})
	if err != nil {
		t.Fatalf("a restart without room: %v", err)
	}
	if got, err := payloadAt(t, restarted); err != nil || got != "first" {
		t.Errorf("a read after a restart without room: %q, %v", got, err)
	}
	restarted.Close(t.Context())
	if _, err := file.New(file.Config{Dir: filepath.Join(disk, "another")}); !errors.Is(err, store.ErrFull) {
		t.Errorf("a new store without room: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(disk, "store", "records", "*", ".tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the write left %q, %v", left, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := putAt(t, s, "third"); err != nil {
		t.Errorf("a write when there is room again: %v", err)
	}
}
