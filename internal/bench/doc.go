// Bench compares the cache hits of a worker with a bare NATS responder, with the cache
// hits of a worker that runs without the protocol between replicas, with those of one that
// records each in an audit log, and with sealed ones.
//
//	client ──► nats-server ──► echo    (a reply of the same size, no work)
//	   ├─────► the same    ──► worker  (retrieve of a cached 256-byte credential)
//	   ├─────► the same    ──► worker  (the same build, coherence.mode=off)
//	   └─────► the same    ──► worker  (the same build, audit.level=all, to a file)
//
// Sealed requests go to the first of the workers, and the client seals and opens each.
//
// Each is a process of its own on this machine; the workers have a stream and a
// prefix each. One client keeps a window of requests under way and drives them in
// alternating rounds. A single run on a shared machine swings by a fifth; the
// ratio of neighbouring rounds is steadier. The last lines are the median ratios.
//
// It stops by itself after -rounds rounds of each, and talks to loopback only.
package main
