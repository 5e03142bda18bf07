//go:build !windows

package file

import (
	"errors"
	"os"
	"syscall"
)

// readFlags open a file for reading. Opening a pipe that somebody put in the place of
// a record must not wait for its writer.
const readFlags = os.O_RDONLY | syscall.O_NONBLOCK

// isFull reports whether an error says that there is no room, or that a quota or a
// limit of the process (ulimit -f) allows no more.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// syncDir makes the entries of a directory durable.
func syncDir(dir *os.File) error { return dir.Sync() }

// retryBusy calls f once: here a file may be renamed or removed while it is
// open elsewhere.
func retryBusy(f func() error) error { return f() }
