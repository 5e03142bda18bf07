// Package manager carries out the commands: it joins the cache, the keyring,
// the store and the protocol between replicas, and knows nothing of NATS.
//
//	Retrieve ─► cache ── hit ──────────────────────────────► reply
//	               └─ miss ─► token ─► flight ─► store ─► open ─► fill if the
//	                                                     token still holds
//	Store ───► seal ─► intent ─► store ─► done ─► reply with revision
//
// It has three parts, by purpose: Reader (retrieve, list, describe, validate),
// Writer (store, patch, delete) and Maintainer (reseal, migrate). They share
// the records: the store, the keyring, and the replica, which knows how new the
// records are.
//
// The items of a batch run concurrently. If the store can read several records
// in one call, items that miss share one (gather.go).
//
// A cached entry is the encoded reply, so that a hit is one copy. Readers that
// share a store read also share the encoded reply: the record is opened once,
// and the last reader wipes the reply (flight.go). Records in the provider's
// native form are never sealed.
//
// The replica decides under its lock what may be cached. Opening, encoding and
// sealing happen outside of that lock: the replica gets entries sealed.
//
// Scopes are checked before they arrive here: the subject of a request decides
// whether its caller may act there.
package manager
