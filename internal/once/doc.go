// Package once finds copies of messages, among all workers.
//
// An attacker who can listen at the NATS servers can send a sealed request again. For a read
// that is useless: only the client opens the reply. But a change must act once. So the worker
// notes the ID of the message in a stream that all workers share, which detects duplicates:
//
//	message ── sent at most Window ago? ── ID new in the stream? ──► acts
//	                └─ no: ErrStale              └─ no: ErrCopy
//
// The stream forgets IDs after a while, which is longer than a message is accepted.
//
// Every change waits for it, so where a server runs alone, as an embedded one does, it is in
// memory. A server that restarts loses it. Then the first worker that notices makes another
// one, with another subject, and messages from before it are refused: they may have acted. In
// a cluster, it is on disk.
package once
