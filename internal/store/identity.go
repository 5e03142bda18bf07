package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
)

// Identified is a Store that knows which place it keeps its records in.
type Identified interface {
	Store
	// Identity names that place. Every client of one place gets the same text,
	// whatever address it uses; clients of two places never do. It is no secret,
	// has at most 255 bytes, and stays the same for as long as the records do.
	//
	// It is "" where the provider does not tell, for lack of a permission for example.
	// Such a worker fits any place, so that it starts; the driver logs what to allow.
	// An error is for a store that is out of reach, or not the one that was opened.
	Identity(ctx context.Context) (string, error)
}

// IdentityPart is a text that fits into an identity: itself up to 128 bytes, else its
// hash.
func IdentityPart(text string) string {
	const most = 128
	if len(text) <= most {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + hex.EncodeToString(sum[:])
}

// FleetingIdentity begins the identity of a store that is gone when its process
// ends.
const FleetingIdentity = "memory:"

// Checker is a Store that can tell at next to no cost whether it is there. An idle
// worker asks it for its readiness.
type Checker interface {
	Store
	// Check returns what a Get would fail with whatever the key, or nil.
	Check(ctx context.Context) error
}

// Marked is an Identified store whose place can be copied together with its identity,
// as a directory can. A mark tells the place from its copies.
type Marked interface {
	Identified
	// Mark leaves a mark in the place until remove is called, and names it. The error is
	// that of a write.
	Mark(ctx context.Context) (mark string, remove func(), err error)
	// HasMark reports whether the mark is in the place. Every client of the place finds
	// it at once; no client of a copy does.
	HasMark(ctx context.Context, mark string) (bool, error)
}
