// Package natsd runs a NATS server inside the worker, so that one binary is
// a working credential manager and nothing else has to be installed. A
// deployment that has a NATS server joins it instead and never comes here.
//
//	Start ── lock the data directory        one process at a time; the kernel
//	  │                                     frees the lock even after kill -9
//	  ├───── read or make two passwords     refused when others may read them
//	  ├───── nats-server, with JetStream    loopback only, every write synced
//	  └───── write two nats contexts        worker.json and client.json
//
// What lies in the data directory afterwards:
//
//	worker.lock   held while a server runs here
//	worker.json   nats context of the worker's user, who may do anything
//	client.json   nats context of the client's user: commands, jobs, and
//	              listening to events; no internal subject, no JetStream
//	jetstream/    the streams
//
// While the server runs, a guard looks at the free space of the disk: below a reserve
// the streams take nothing more and are read as before, and streams that failed on a
// full disk are opened again when there is room. See guard.
//
// A program on the same machine connects by naming client.json, and so does
// the nats command. All of them are one user to NATS and may see each other's
// replies: tenants that must not trust each other need a NATS server of their
// own with a user each.
package natsd
