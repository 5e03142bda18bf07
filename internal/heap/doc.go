// Package heap keeps the memory of a process near what it uses, by two settings
// of Go's collector that one number for all heaps does not fit:
//
//	after each cycle ──► live heap ──► GOGC, so that Headroom may be allocated
//	at the start ──────► cgroup ─────► GOMEMLIMIT, unless the environment has it
//
// GOGC and GOMEMLIMIT in the environment are left as they are.
package heap
