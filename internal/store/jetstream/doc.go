// Package jetstream keeps every credential under a key of one JetStream
// key-value bucket. All workers that use the bucket share it, and it is as
// durable and as available as the stream below it.
//
//	bucket CREDBUS_CREDENTIALS, which is stream KV_CREDBUS_CREDENTIALS
//	  org=acme.team=eng.api-key   one encoded record; its values come sealed
//
// A key is a subject, so scopes and IDs are in clear; a colon, which keys must
// not contain, becomes an equals sign. The revision of a key, which is its
// message's sequence in the stream, is the version of the record: the stream
// never uses a sequence twice. A bucket that was made again or restored from a
// backup is another one, and earlier versions are void.
//
// A write reads the record and publishes the next one on condition that it is
// still the last one of its key:
//
//	read current ─► precondition ─► publish if last is current ─┬─► acknowledged
//	     ▲                                                      │
//	     └──────────────── another write was faster ◄───────────┘
//
// The leader of the stream answers reads, never a copy that may be behind:
// direct gets are turned off, also on a bucket that had them. One gap remains:
// a leader that is cut off from the other servers notices it only after about
// ten seconds, and until then answers clients on its side.
//
// A delete leaves a marker in the place of the record, and no earlier revision.
// With servers from 2.11 on, the marker expires after an hour. JetStream frees
// the space of replaced and deleted records later: until then, sealed bytes may
// stay in a file of the server.
//
// When a write is acknowledged, the servers of the stream have it. Their
// settings decide when it is on disk (sync_interval: always, as in the embedded
// server, or several replicas).
//
// [Store.Watch] reports changes that leave a message. It notices records that
// are removed without one, as by nats stream purge, only when the watch begins
// anew.
package jetstream
