package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
)

// Identified is a Store that can name the place of its records.
type Identified interface {
	Store
	// Identity names that place. Every client of a place gets the same text,
	// whatever address it uses; clients of different places get different ones.
	// It is not secret, has at most 255 bytes, and stays the same as long as
	// the records exist.
	//
	// It is "" if the provider does not reveal it, for example without a
	// permission. Such a worker fits any place, so that it can start; the
	// driver logs what to allow. Identity returns an error if the store is out
	// of reach, or not the one that was opened.
	Identity(ctx context.Context) (string, error)
}

// IdentityPart makes a text fit into an identity: it returns a text of up to
// 128 bytes as it is, otherwise its hash.
func IdentityPart(text string) string {
	const most = 128
	if len(text) <= most {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + hex.EncodeToString(sum[:])
}

// FleetingIdentity begins the identity of a store that ends with its process.
const FleetingIdentity = "memory:"

// Checker is a Store with a very cheap check of whether it is available. An
// idle worker uses it for its readiness.
type Checker interface {
	Store
	// Check returns the error with which a Get of any key would fail, or nil.
	Check(ctx context.Context) error
}

// Marked is an Identified store whose place can be copied together with its
// identity, as a directory can. A mark distinguishes the place from its copies.
type Marked interface {
	Identified
	// Mark leaves a mark in the place until the caller calls remove, and
	// returns its name. Errors are those of a write.
	Mark(ctx context.Context) (mark string, remove func(), err error)
	// HasMark reports whether the mark is in the place. Every client of the place finds
	// it at once; no client of a copy does.
	HasMark(ctx context.Context, mark string) (bool, error)
}
