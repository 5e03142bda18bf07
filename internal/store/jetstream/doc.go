// Package jetstream keeps every credential under a key of one JetStream
// key-value bucket. All workers that use the bucket share it, and it is as
// durable and as available as the stream below it.
//
//	bucket CREDBUS_CREDENTIALS, which is stream KV_CREDBUS_CREDENTIALS
//	  org=acme.team=eng.api-key   one encoded record; its values come sealed
//
// A key is a subject, so scopes and IDs stand in clear; a colon, which keys
// may not hold, becomes an equals sign. The revision of a key, which is its
// message's sequence in the stream, is the version of the record: the stream
// never gives out a sequence twice. A bucket that was deleted and made anew, or
// restored from a backup, is another: versions of before mean nothing there.
//
// A write reads the record and publishes the next one on condition that it is
// still the last of its key:
//
//	read current ─► precondition ─► publish if last is current ─┬─► acknowledged
//	     ▲                                                      │
//	     └──────────────── another write was faster ◄───────────┘
//
// Reads are answered by the leader of the stream, never by a copy that may be
// behind: direct gets are turned off, also on a bucket that had them. What
// stays open are the seconds, about ten, in which a leader that was cut off from
// the other servers has not noticed, and answers those who are cut off with it.
//
// A delete leaves a marker in the place of the record, which goes by itself
// after an hour where the server can do that (2.11 and later), and no earlier
// revision. JetStream frees the space of what was replaced or deleted in its
// own time: sealed bytes may stay in a file of the server until then.
//
// When a write is acknowledged, the servers of the stream have it; when they
// have it on disk is their setting (sync_interval: always, as the embedded
// server has, or several replicas).
//
// [Store.Watch] tells of changes that left a message behind. Records that are
// removed from the stream without one, as nats stream purge does, are noticed
// only when the watch begins anew.
package jetstream
