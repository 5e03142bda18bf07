//go:build !linux

package testbed

import (
	"runtime"
	"testing"
)

// SmallDisk skips the test: it needs a tmpfs, and only Linux has one.
func SmallDisk(t testing.TB, _ string) (dir string) {
	t.Helper()
	t.Skipf("a small disk needs a tmpfs, which %s does not have", runtime.GOOS)
	return ""
}
