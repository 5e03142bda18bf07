package subjects

import (
	"math"
	"time"
)

// KeysRequest asks every replica which keys it holds.
type KeysRequest struct{ Envelope }

// Key is what is told of a key of the keyring, none of which is secret.
type Key struct {
	ID      uint32
	Status  string // enabled or disabled
	Primary bool   // it seals
}

func (k *Key) encode(e *encoder) {
	e.integer("id", int64(k.ID))
	e.str("status", k.Status)
	e.boolean("primary", k.Primary)
}

func (k *Key) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "id":
		k.ID = d.keyID()
	case "status":
		k.Status = d.str(maxTextLen)
	case "primary":
		k.Primary = d.boolean()
	default:
		return false
	}
	return true
}

// keyID reads the number of a key.
func (d *decoder) keyID() uint32 {
	n := d.integer()
	if n < 0 || n > math.MaxUint32 {
		d.refusef("%d is not the number of a key", n)
		return 0
	}
	return uint32(n)
}

// MaxKeys bounds the keys of one replica in a reply.
const MaxKeys = 1000

// ReplicaKeys are the keys that one replica holds.
type ReplicaKeys struct {
	Replica string
	Keys    []Key
	Loaded  time.Time // when it read them
}

// Primary is the number of the key that the replica seals with.
func (r *ReplicaKeys) Primary() uint32 {
	for _, key := range r.Keys {
		if key.Primary {
			return key.ID
		}
	}
	return 0
}

// Has reports whether the replica holds a key.
func (r *ReplicaKeys) Has(id uint32) bool {
	for _, key := range r.Keys {
		if key.ID == id {
			return true
		}
	}
	return false
}

func (r *ReplicaKeys) encode(e *encoder) {
	e.str("replica", r.Replica)
	e.array("keys", len(r.Keys))
	for i := range r.Keys {
		e.message(&r.Keys[i])
	}
	e.time("loaded", r.Loaded)
}

func (r *ReplicaKeys) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "replica":
		r.Replica = d.str(maxTextLen)
	case "keys":
		r.Keys = messages[Key](d, MaxKeys, nil)
	case "loaded":
		r.Loaded = d.time("loaded")
	default:
		return false
	}
	return true
}

// ResealRequest asks for a page of the credentials of a scope and below to be
// sealed by the primary key, where they are not. It may be repeated at any time.
type ResealRequest struct {
	Envelope
	Paging
	Scope Scope
}

func (r *ResealRequest) encode(e *encoder) {
	e.str("scope", string(r.Scope))
	r.Paging.encode(e)
	r.Envelope.encode(e)
}

func (r *ResealRequest) field(d *decoder, name []byte) bool {
	if string(name) == "scope" {
		r.Scope = d.scope()
		return true
	}
	return r.Paging.field(d, name) || r.Envelope.field(d, name)
}

// ResealReply says what became of a page. Every credential of it is counted once.
type ResealReply struct {
	Primary  uint32 // the key that sealed
	Resealed int64  // were sealed by another key, or in format 1, by whatever key
	Current  int64  // were sealed by the primary in format 2 already
	Native   int64  // are kept in the provider's own form, which credbus does not seal
	// Remaining were not begun, since the time was up: send the request again
	// with the cursor that it had.
	Remaining int64
	// Failed are those that could not be opened or written, with scope and ID.
	Failed   []Error
	Cursor   string // "" on the last page
	Revision Revision
}

// counters are the numbers of r by field name, for both directions.
func (r *ResealReply) counters() [4]counter {
	return [...]counter{
		{"resealed", &r.Resealed}, {"current", &r.Current}, {"native", &r.Native}, {"remaining", &r.Remaining},
	}
}

func (r *ResealReply) encode(e *encoder) {
	e.integer("primary", int64(r.Primary))
	counters := r.counters()
	e.counters(counters[:])
	e.failures(r.Failed)
	e.str("cursor", r.Cursor)
}

func (r *ResealReply) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "primary":
		r.Primary = d.keyID()
	case "failed":
		r.Failed = d.failures()
	case "cursor":
		r.Cursor = d.str(MaxCursorLen)
	case "revision":
		r.Revision = d.revision()
	default:
		counters := r.counters()
		return d.counter(counters[:], name)
	}
	return true
}
