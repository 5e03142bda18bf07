// Package deployment keeps the workers of one deployment to one truth: it
// records what all of them must agree on, and refuses a worker that differs.
//
//	start ─► read the record ─┬─ none ──────► write it, as the first worker
//	                          ├─ agrees ────► go on
//	                          └─ differs ───► stop, and say what differs
//
// Two workers that keep credentials in different places, or that seal with
// different keyrings, would each answer half of the requests from a truth of
// their own. The record is one message in a stream, and every change of it is a
// compare-and-set, so that of two workers that start at once one is the first.
//
// A worker may change the record only on purpose, and only while no other worker
// runs: those would go on with what was before.
package deployment
