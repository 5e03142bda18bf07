package file

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// readFlags open a file for reading.
const readFlags = os.O_RDONLY

// isFull reports whether an error says that there is no room, or no quota for more.
func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) || errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// syncDir does nothing: Windows has no call that syncs a directory. NTFS
// journals renames, so the tree stays whole, but one that was answered just
// before a power failure may be undone by it.
func syncDir(*os.File) error { return nil }

// retryBusy calls f again while another program, such as a virus scanner or an
// indexer, has the file open in a way that excludes us. It gives up after
// about half a second.
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
