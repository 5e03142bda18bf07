// Footprint measures what memory a worker takes: the real program, in a process of
// its own, with its default settings but for those that are named.
//
//	cache      entries of 1 KiB that are read again and again
//	worst      for each kind of command, many of its worst requests at once, and
//	           what reads of a single credential wait meanwhile
//	slow       clients that ask for large replies and read none of them
//	container  reads under a limit of memory, as of a container
//
// Each prints a line with the resident size of the process before and at its most.
// It stops by itself, talks to loopback only, and exits with 1 when that is more
// than it may be. What
// is stored goes to TMPDIR; on a disk that syncs slowly, TMPDIR=/dev/shm is quicker.
package main
