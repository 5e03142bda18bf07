// Package worker puts the parts of a worker together from its configuration:
//
//	natsd (unless a server is named) ─► natsconn ─► coherence.Stream
//	store ─► seal ─► cache ─► coherence.Replica ─► manager ─► handler
//
// It is what cmd/worker runs, and what tests and examples start in process.
package worker
