// Package wireseal seals the bodies of requests and replies end to end: NATS servers see no
// value.
//
//	client                                         any worker
//	seal_key ─────────────────────────────────────► public key
//	Agree ─► encapsulated ── seal_key ────────────► Agree, issue a ticket
//	                    ticket ◄──────────────────
//	Session.SealRequest ─► ticket ‖ sealed body ──► Opener.Open: the ticket has the secret
//	Session.OpenReply ◄──────────── sealed body ◄── Opened.SealReply
//
// A ticket holds the session's secret, sealed under a key that all workers share, as session
// tickets of TLS (RFC 5077) do. So any worker opens any request, even if it has never seen the
// client. docs/wire-sealing.md specifies every byte, and testdata/vectors.json has examples.
package wireseal
