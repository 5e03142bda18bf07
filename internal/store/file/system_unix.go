//go:build !windows

package file

import (
	"errors"
	"os"
	"syscall"
)

// readFlags open a file for reading. If somebody put a pipe in the place of a
// record, opening it must not wait for a writer.
const readFlags = os.O_RDONLY | syscall.O_NONBLOCK

// isFull reports whether the disk is full, or a quota or a limit of the process
// (ulimit -f) is reached.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// syncDir makes the entries of a directory durable.
func syncDir(dir *os.File) error { return dir.Sync() }

// retryBusy calls f once: this system can rename or remove a file that is open
// elsewhere.
func retryBusy(f func() error) error { return f() }
