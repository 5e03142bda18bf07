package testbed

import (
	"os"
	"os/exec"
	"testing"
)

// SmallDisk returns an empty directory on a file system of its own, with that size (as
// mount writes it: 1m). Without permission to mount, it skips the test, unless
// CREDBUS_REQUIRE_MOUNT is set.
func SmallDisk(t testing.TB, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		if os.Getenv("CREDBUS_REQUIRE_MOUNT") != "" {
			t.Fatalf("CREDBUS_REQUIRE_MOUNT is set: %v: %s", err, out)
		}
		t.Skipf("mount -t tmpfs: %v: %s: to mount, be root or have the capability CAP_SYS_ADMIN", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}
