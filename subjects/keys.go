package subjects

import "time"

// KeysRequest asks every replica which keys it holds.
type KeysRequest struct{ Envelope }

// Key describes a key of the keyring. Nothing of it is secret.
type Key struct {
	ID      uint32 `wire:"id,read=keyID"`
	Status  string `wire:"status"`  // enabled or disabled
	Primary bool   `wire:"primary"` // whether it seals
}

// MaxKeys bounds the keys of one replica in a reply.
const MaxKeys = 1000

// ReplicaKeys are the keys that one replica holds.
type ReplicaKeys struct {
	Replica string    `wire:"replica"`
	Keys    []Key     `wire:"keys,always,max=MaxKeys"`
	Loaded  time.Time `wire:"loaded"` // when the replica read its keyring
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

// ResealRequest asks to seal a page of the credentials of a scope and below by the primary
// key. It may be repeated at any time.
type ResealRequest struct {
	Envelope
	Scope Scope `wire:"scope"`
	Paging
}

// ResealReply says what became of a page. Every credential of it is counted once.
type ResealReply struct {
	Primary  uint32 `wire:"primary,read=keyID"` // the key that sealed
	Resealed int64  `wire:"resealed,always"`    // how many were sealed anew: by another key before, or in format 1
	Current  int64  `wire:"current,always"`     // how many were sealed by the primary in format 2 already
	Native   int64  `wire:"native,always"`      // how many are in the provider's own form, which workers do not seal
	// Remaining is how many were not begun because the time was up. Send the request again
	// with the cursor that it had.
	Remaining int64 `wire:"remaining,always"`
	// Failed has an error for each that could not be opened or written.
	Failed   []Error  `wire:"failed,max=MaxListItems,read=failures"`
	Cursor   string   `wire:"cursor,max=MaxCursorLen"` // left out on the last page
	Revision Revision `wire:"revision,reply"`
}
