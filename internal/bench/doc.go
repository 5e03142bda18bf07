// Bench measures a worker's cache hits beside a bare NATS responder.
//
//	client ──► nats-server ──► echo    (a reply of the same size, no work)
//	   └─────► the same    ──► worker  (retrieve of a cached 256-byte credential)
//
// Each is a process of its own on this machine. One client, which keeps a
// window of requests under way, drives both in alternating rounds, since a
// single run on a shared machine swings by a fifth: the ratio of neighbours
// holds where rates do not. The last line is the median ratio.
//
// It stops by itself after -pairs pairs of rounds, and talks to loopback only.
package main
