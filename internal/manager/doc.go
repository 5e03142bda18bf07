// Package manager carries out the commands: it joins the cache, the keyring,
// the store and the protocol between replicas, and knows nothing of NATS.
//
//	Retrieve ─► cache ── hit ──────────────────────────────► reply
//	               └─ miss ─► token ─► flight ─► store ─► open ─► fill if the
//	                                                     token still holds
//	Store ───► seal ─► intent ─► store ─► done ─► reply with revision
//
// It has three parts, by purpose: Reader (retrieve, list, describe, validate), Writer
// (store, patch, delete) and Maintainer (reseal, migrate). They share the records: the store,
// the keyring and the replica that says how new the records are.
//
// The items of a batch run side by side; where the store reads several records
// in one call, those that miss share it (gather.go).
//
// A cached entry is the encoded reply, so that a hit is one copy. Readers that
// share a store read share the encoded reply, too: the record is opened once,
// and the last reader wipes the reply (flight.go). What a store keeps in its
// provider's own form is never sealed on its way.
//
// The replica decides under its lock what may be cached. Nothing is opened,
// encoded or sealed under that lock: entries come to it sealed.
//
// Scopes arrive here checked: whether the caller may act there was decided
// from the subject of its request.
package manager
