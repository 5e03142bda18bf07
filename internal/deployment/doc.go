// Package deployment makes the workers of one deployment agree: it records what all
// of them must have in common, and refuses a worker that differs.
//
//	start ─► read the record ─┬─ none ──────► write it, as the first worker
//	                          ├─ agrees ────► go on
//	                          └─ differs ───► stop, and say what differs
//
// Two workers that keep credentials in different places, or that seal with different
// keyrings, would each answer half of the requests from other data. The record is one
// message in a stream, and every change of it is a compare-and-set. So of two workers
// that start at once, only one is the first.
//
// A worker may change the record only on purpose, and only while no other worker
// runs: the others would go on with the old record.
package deployment
