// Package vault keeps every credential as a secret of a KV engine, version 2, of
// HashiCorp Vault or OpenBao. All workers that use the same mount and path share
// it.
//
//	secret/                          the mount
//	  credbus/                       the path
//	    org:acme/team:eng/api-key    one secret, named as people name the credential
//
// A secret has one of two forms, recognised by its entries. Names of values
// have no colon, so no value looks like one of ours.
//
//	sealed   credbus:sealed   an encoded record, whose values come sealed, in base64
//	native   username         the values, in clear, for other programs to read
//	         password
//	         credbus:record   write id, revision, metadata; and the version of the
//	                          secret that they belong to
//
// A write makes one whole version of the secret, on condition that the previous
// version is still the one that was read (cas). If somebody else writes a
// secret in native form, credbus:record is gone or belongs to another version.
// Then a read returns the values, without a write id.
//
//	read current ─► precondition ─► write with cas ─┬─► done
//	     ▲                                          │
//	     └────── another write was faster ◄─────────┘
//
// A record's version is Vault's number and the time of writing, since numbers
// begin anew when a secret is removed. A delete leaves no values, and a minute
// later nothing at all: see burial.go.
//
// A call goes to Vault with the token of the session, which is renewed before
// it ends. A lost token is replaced, once for all calls that wait for it:
//
//	call ─► request ─┬─────────────────────────────► answer
//	                 └─ refused, token unknown ─► login ─► request, once more
//
// This package wipes values wherever it has them in memory. It cannot wipe the
// buffers of a connection, a few KiB in net/http.
package vault
