// Package heap keeps the memory of a process near what it uses. It adjusts two
// settings of Go's garbage collector, since no fixed value suits all heaps:
//
//	after each cycle ──► live heap ──► GOGC, so that Headroom may be allocated
//	at the start ──────► cgroup ─────► GOMEMLIMIT, unless the environment has it
//
// GOGC and GOMEMLIMIT in the environment are left as they are.
package heap
