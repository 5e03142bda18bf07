package file

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// readFlags open a file for reading.
const readFlags = os.O_RDONLY

// isFull reports whether the disk is full, or a quota is reached.
func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) || errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// syncDir does nothing: Windows has no call that syncs a directory. NTFS
// journals renames, so the tree stays intact. But a power failure may undo a
// rename that was acknowledged just before.
func syncDir(*os.File) error { return nil }

// retryBusy calls f again while another program, such as a virus scanner or an
// indexer, has the file open exclusively. It gives up after about half a
// second.
func retryBusy(f func() error) error {
	wait := time.Millisecond
	for {
		err := f()
		busy := errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION)
		if !busy || wait > 256*time.Millisecond {
			return err
		}
		time.Sleep(wait)
		wait *= 2
	}
}
