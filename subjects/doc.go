// Package subjects is the wire contract of credbus: scopes and IDs, the subjects of
// commands and events, the messages in their bodies, and the codes of errors. Both
// ends import it; it imports nothing of theirs.
//
// A command is a NATS request. Its subject names the command and the scope, and only
// this scope gives authority. Its body is a msgpack map, or JSON if it begins with
// '{'. The reply has the same encoding:
//
//	client                                          worker
//	Prefix.Command ─┐                           ┌─► Prefix.ParseCommand ─► Scope
//	                ├─► subject, body ─► NATS ──┤
//	Append ─────────┘                           └─► [FromJSON] ─► Decode ─► request
//	Decode ◄──────── body ◄─ NATS ◄─ [ToJSON] ◄─ AppendRevision ◄─ AppendOpen ◄─ reply
//
// A subject has one token for each segment of a scope such as
// org:acme/team:eng, and none for the root:
//
//	cred.v1.<command>.org:acme.team:eng         a command
//	cred.v1.event.org:acme.team:eng.<id>        what happened to a credential
//	cred.v1.coherence.<kind>                    between replicas only
//
// Unknown fields are ignored, missing fields are zero, and the meaning of a field
// never changes within v1. An error is a message too, [Error]. Its code has a number,
// which the reply's header carries:
//
//	400 invalid_argument    412 version_conflict     500 internal
//	401 session_expired*    413 payload_too_large    503 storage_unavailable*
//	403 permission_denied   429 resource_exhausted*  504 storage_timeout*
//	404 not_found           500 decrypt_failed       507 storage_full
//	409 already_exists
//
// A code with * may succeed when the same command is sent again.
//
// The error of a write that may have taken effect is marked OutcomeUnknown,
// whatever its code.
//
// A message is declared once, as a struct whose tags say how its fields travel. From
// these, internal/contract generates the encoding and decoding, docs/asyncapi.yaml, and
// the tables of docs/protocol.md.
//
// Bodies come from anyone. [Decode] allocates no more than the content of a body needs,
// quotes no value in an error, and leaves values where they are: the owner of a body
// wipes it, and every [Secret] in it, with one clear.
package subjects

//go:generate go run ../internal/contract
