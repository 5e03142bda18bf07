// Package simulation runs the protocol between replicas, and the commands over
// it, against a log, stores and processes that fail as a seed says, in
// synthetic time, and judges what its clients saw.
//
//	clients ──► process ──► manager ─► cache
//	(sessions,    │            ├─────► replica ◄──► link ◄──► journal
//	 plain and    │            └─────► store of the process ──► state, commits
//	 fresh reads) └ pauses, crashes,        └ slow, late,
//	                comes back                lags behind
//
// Everything between the clients and what is drawn to the right of a process
// is the product's own code. A link loses, delays and repeats what passes
// between a replica and the journal, which is the ordered log; a process stops
// at any of its dealings with the outside; a store is late, or lands a write
// that was given up. The clients always reach every process that is alive, and
// so does the store: a replica that is cut off from the others is the worst
// when it still answers.
//
// All of it is in test files under the build tag simulation, which also puts
// switches into the protocol: a mutant is the protocol without one of its
// protections, and for each there is a class of faults in which it shows.
//
//	go test -tags simulation ./internal/simulation            a short set
//	go test -tags simulation ./internal/simulation -seeds 200 -duration 60s
package simulation
