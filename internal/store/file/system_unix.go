//go:build !windows

package file

import "os"

// syncDir makes the entries of a directory durable.
func syncDir(dir *os.File) error { return dir.Sync() }

// retryBusy calls f once: here a file may be renamed or removed while it is
// open elsewhere.
func retryBusy(f func() error) error { return f() }
