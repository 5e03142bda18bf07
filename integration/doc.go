// Package integration tests credbus as its users meet it: real servers in containers,
// and the public client on the host.
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
// Nothing is pulled. Both images are built from scratch around static binaries:
// nats-server at the version that go.mod pins, and the worker from the working tree.
// Root filesystems are read-only and the user is not root. So the tests also show that
// a worker needs no more than its data directory.
//
// Each test has a bed of its own: servers and workers in a network. Everything that a
// run creates carries its label. At the end, also after failures and an interrupt,
// everything with the label is removed, and nothing else.
//
// Package credbus/internal/history judges correctness under load, from a recorded
// history of all requests. Its own tests need no container.
//
// The tests of faults, behind the build tag faults, have beds of three workers and one
// server or a cluster of three. They cut networks, pause and kill processes, restart
// servers and delete the stream, under load from all kinds of clients. Or all of these
// faults come at random while batch jobs run, and the store's own log shows whether the
// jobs were right. These tests take a while: see TestFaults, TestJobFaults and their
// flags.
//
// Without a Docker engine the tests are skipped, or fail if CREDBUS_REQUIRE_DOCKER=1
// is set. Run them with -count=1: go test does not see that the worker has changed.
package integration
