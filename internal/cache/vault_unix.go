//go:build unix

package cache

import "golang.org/x/sys/unix"

// newPage returns memory of the system, in heap memory if it gives none. It is locked if the
// limit of locked memory (ulimit -l) allows that.
func newPage(size int) (page []byte, locked bool) {
	page, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, size), false
	}
	leaveOutOfDumps(page)
	return page, unix.Mlock(page) == nil
}

// freePage fails only for a page of heap memory, which needs nothing.
func freePage(page []byte) { _ = unix.Munmap(page) }
