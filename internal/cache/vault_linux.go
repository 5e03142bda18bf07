package cache

import "golang.org/x/sys/unix"

// leaveOutOfDumps keeps a page out of core dumps, which the worker switches off besides.
func leaveOutOfDumps(page []byte) { _ = unix.Madvise(page, unix.MADV_DONTDUMP) }
