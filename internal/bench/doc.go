// Bench measures a worker's cache hits beside a bare NATS responder, and beside
// those of a worker that runs without the protocol between replicas.
//
//	client ──► nats-server ──► echo    (a reply of the same size, no work)
//	   ├─────► the same    ──► worker  (retrieve of a cached 256-byte credential)
//	   └─────► the same    ──► worker  (the same build, coherence.mode=off)
//
// Each is a process of its own on this machine; the workers have a stream and a
// prefix each. One client, which keeps a window of requests under way, drives
// them in alternating rounds, since a single run on a shared machine swings by
// a fifth: the ratio of neighbours holds where rates do not. The last lines are
// the median ratios.
//
// It stops by itself after -rounds rounds of each, and talks to loopback only.
package main
