// Package integration tests credbus from outside, as its users meet it: real
// servers in containers, and the public client on the host.
//
//	host                      private network of containers
//	┌───────────────┐         ┌─────────────────────────────────┐
//	│ test          │         │ nats   (nats-server, JetStream) │
//	│  credbus/     │ 127.0.0.1:port  ▲            ▲            │
//	│   client ─────┼─────────┼───────┤            │            │
//	│  docker API   │         │   worker-a     worker-b         │
//	│   kill, stop  │         │       └── /data ───┘            │
//	└───────────────┘         └─────────── one volume ──────────┘
//
// Nothing is pulled: both images are built from scratch around static
// binaries, nats-server at the version that go.mod pins and the worker from
// the working tree. Root filesystems are read-only and the user is not root,
// so the tests also show that a worker needs no more than its data directory.
//
// Each test has a bed of its own. Whatever a run creates carries its label,
// and what carries the label is removed at the end, after failures and an
// interrupt too; nothing else is touched.
//
// Correctness under load is judged from a recorded history of all requests, by
// package credbus/internal/history, whose own tests need no container.
//
// The tests of faults, behind the build tag faults, have beds of three workers
// and one server or a cluster of three, in which networks are cut, processes
// paused and killed, servers restarted, and the stream deleted, under load from
// all kinds of clients; or in which all of that comes at random while batch jobs are
// carried out, which are judged from the store's own log. They take a while: see
// TestFaults, TestJobFaults and their flags.
//
// Without a Docker engine the tests are skipped, or fail where
// CREDBUS_REQUIRE_DOCKER=1 is set. Run them with -count=1: go test does not
// see that the worker has changed.
package integration
