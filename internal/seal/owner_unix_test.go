//go:build unix

package seal

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Root edits the keyring of a worker that runs as another user, who can read it
// afterwards.
func TestSaveKeepsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give a file away")
	}
	const uid, gid = 12345, 23456
	path := filepath.Join(t.TempDir(), "keyring.json")
	k, err := CreateKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != uid || owner.Gid != gid || info.Mode().Perm() != 0o600 {
		t.Errorf("it belongs to %d:%d, mode %o", owner.Uid, owner.Gid, info.Mode().Perm())
	}
}
