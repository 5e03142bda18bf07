// Footprint measures how much memory a worker takes: the real program, in a process
// of its own, with its default settings except where a measurement needs others.
//
//	cache      entries of 1 KiB that are read again and again
//	worst      for each kind of command, many of its worst requests at once, and
//	           how long reads of a single credential wait meanwhile
//	slow       clients that ask for large replies and read none of them
//	container  reads under a memory limit, as in a container
//
// Each prints a line with the resident size of the process before, and its peak. The
// program exits with 1 if a size is over its limit. It stops by itself, and talks to
// loopback only. The worker stores into TMPDIR; if that disk syncs slowly,
// TMPDIR=/dev/shm is quicker.
package main
