package testbed

import (
	"os"
	"os/exec"
	"testing"
)

// SmallDisk is an empty directory on a file system of its own, of that size (as mount
// takes it: 1m). A user who may not mount skips the test, unless
// CREDBUS_REQUIRE_MOUNT is set.
func SmallDisk(t testing.TB, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		if os.Getenv("CREDBUS_REQUIRE_MOUNT") != "" {
			t.Fatalf("CREDBUS_REQUIRE_MOUNT is set: %v: %s", err, out)
		}
		t.Skipf("this user cannot mount a small disk: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// Fill writes the file until its disk has no room left, to the last byte.
func Fill(t testing.TB, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for piece := make([]byte, size); ; {
			if _, err := f.Write(piece); err != nil {
				break
			}
		}
	}
}
