package file_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"credbus/internal/store"
)

// A disk without room refuses writes and nothing else, and takes them again when
// there is room.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Skipf("this user cannot mount a small disk: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	s := newStoreAt(t, filepath.Join(disk, "store"))
	defer s.Close() // before the disk goes
	if err := putAt(t, s, "first"); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	for size := 64 << 10; size > 0; size /= 2 { // to the last byte
		for {
			f, err := os.OpenFile(filler, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteString(strings.Repeat("x", size))
			f.Close()
			if err != nil {
				break
			}
		}
	}
	if err := putAt(t, s, "second"); !errors.Is(err, store.ErrFull) {
		t.Errorf("a write without room: %v", err)
	}
	if got, err := payloadAt(t, s); err != nil || got != "first" {
		t.Errorf("a read: %q, %v", got, err)
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
