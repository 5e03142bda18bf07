// Package natsd runs a NATS server inside the worker, so that one binary is a
// working credential manager and nothing else must be installed. A deployment with
// a NATS server of its own joins that instead and does not use this package.
//
//	Start ── lock the data directory        one process at a time; the kernel
//	  │                                     frees the lock even after kill -9
//	  ├───── read or make two passwords     refused when others may read them
//	  ├───── nats-server, with JetStream    loopback only, every write synced
//	  └───── write two nats contexts        worker.json and client.json
//
// The data directory then holds:
//
//	worker.lock   held while a server runs here
//	worker.json   nats context of the worker's user, who may do anything
//	client.json   nats context of the client's user: commands, jobs, and
//	              listening to events; no internal subject, no JetStream
//	tenants.json  further users, which credbus tenant add makes; see package users
//	jetstream/    the streams
//
// The server takes up changes of tenants.json within a second.
//
// While the server runs, a guard watches the free space of the disk. Below a reserve, the
// streams store nothing more but can still be read. When there is room again, the guard
// opens streams again that failed on a full disk. See guard.
//
// A program on the same machine, such as the nats command, connects by naming
// client.json. All such programs are one user to NATS and may see each other's
// replies. Those that must not trust each other are tenants, with a user each.
package natsd
