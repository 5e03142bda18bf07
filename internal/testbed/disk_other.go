//go:build !linux

package testbed

import "testing"

// SmallDisk skips the test: only Linux has small disks in memory.
func SmallDisk(t testing.TB, _ string) (dir string) {
	t.Helper()
	t.Skip("small disks are made on Linux only")
	return ""
}
