// Package simulation tests the protocol between replicas, and the commands over it.
// The log, stores and processes fail as a seed decides, in synthetic time. In the end
// the package checks what the clients saw.
//
//	clients ──► process ──► manager ─► cache
//	(sessions,    │            ├─────► replica ◄──► link ◄──► journal
//	 plain and    │            └─────► store of the process ──► state, commits
//	 fresh reads) └ pauses, crashes,        └ slow, late,
//	                comes back                lags behind
//
// Everything between the clients and the parts to the right of a process is the
// product's own code. A link loses, delays and repeats messages between a replica and
// the journal, which is the ordered log. A process may stop at any contact with the
// outside. A store may be slow, or carry out a write that its caller has given up. The
// clients and the store always reach every live process: a replica that is cut off from
// the others is most dangerous while it still answers.
//
// All of it is in test files under the build tag simulation. The tag also puts switches
// into the protocol. A mutant is the protocol without one of its protections. For each
// mutant there is a class of faults in which the missing protection shows.
//
//	go test -tags simulation ./internal/simulation            a short set
//	go test -tags simulation ./internal/simulation -seeds 200 -duration 60s
package simulation
