//go:build unix

package dumps

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Off turns core dumps of this process off, and of those that it starts.
func Off() error {
	limit := uint64(0)
	if runtime.GOOS == "linux" {
		// Linux ignores a limit of 0 where kernel.core_pattern pipes core dumps to a program.
		// 1 is special: it prevents those, too (fs/coredump.c), and no file is that small.
		limit = 1
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: limit, Max: limit})
}
