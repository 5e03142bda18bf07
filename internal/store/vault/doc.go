// Package vault keeps every credential as a secret of a KV engine, version 2, of
// HashiCorp Vault or OpenBao. All workers that use the same mount and path share
// it.
//
//	secret/                          the mount
//	  credbus/                       the path
//	    org:acme/team:eng/api-key    one secret, named as people name the credential
//
// A secret has one of two forms, told apart by their entries; a name of a value
// has no colon, so that nothing is taken for the other.
//
//	sealed   credbus:sealed   an encoded record, whose values come sealed, in base64
//	native   username         the values, in clear, for other programs to read
//	         password
//	         credbus:record   write id, revision, metadata; and the version of the
//	                          secret that they belong to
//
// What is written is one version of the secret, whole, on condition that the
// version before is still the one that was read (cas). When somebody else writes
// a secret in native form, credbus:record is gone or is of another version:
// then the values are read, and belong to no write of credbus.
//
//	read current ─► precondition ─► write with cas ─┬─► done
//	     ▲                                          │
//	     └────── another write was faster ◄─────────┘
//
// A record's version is Vault's number and the time of writing, since numbers
// begin anew when a secret is removed. A delete leaves none of the values, and
// nothing at all a minute later: see burial.go.
//
// A call goes to Vault with the token of the session, which is renewed before it
// ends. A token that was lost is replaced, once for all calls that wait for it:
//
//	call ─► request ─┬─────────────────────────────► answer
//	                 └─ refused, token unknown ─► login ─► request, once more
//
// Values are wiped wherever this package has them in memory. The buffers of a
// connection, a few KiB, are net/http's.
package vault
