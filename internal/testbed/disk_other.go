//go:build !linux

package testbed

import (
	"runtime"
	"testing"
)

// SmallDisk skips the test: it mounts a tmpfs, which Linux alone has.
func SmallDisk(t testing.TB, _ string) (dir string) {
	t.Helper()
	t.Skipf("%s mounts no tmpfs, which a small disk is", runtime.GOOS)
	return ""
}
