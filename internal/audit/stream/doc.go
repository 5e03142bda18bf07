// Package stream keeps an audit log in a JetStream stream, which all workers of a deployment
// share.
//
//	writer ── block ─► cred.v1.coherence.audit.<worker> ─► stream ─► Page ─► admin.audit
//
// A message is a block of package audit. Each run of a worker has a name of its own, and so a
// subject and a chain of its own.
//
// A block is stored once, although a Write whose acknowledgement was lost is repeated: each
// message names the one before it on its subject, and the server refuses it if that is not the
// last one.
//
// Nothing removes a message before its time. The stream refuses to delete, to purge, and to
// store more than it has room for. So a gap in the numbers of the messages shows that somebody
// went around that.
//
// Clients never read the stream themselves. The server would send what they ask for to any
// subject that they name, with the rights of the workers' account. They ask the workers.
package stream
