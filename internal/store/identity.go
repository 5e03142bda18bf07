package store

import "context"

// Identified is a Store that knows which place it keeps its records in.
type Identified interface {
	Store
	// Identity names that place. Every client of one place gets the same text,
	// whatever address it uses; clients of two places never do. It is no secret,
	// has at most 255 bytes, and stays the same for as long as the records do.
	Identity(ctx context.Context) (string, error)
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
