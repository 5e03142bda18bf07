package store

import "context"

// Change tells that a record was written or removed. What it does not say, a
// Get does: it is a reason to look, not a copy of what is there.
type Change struct {
	Key
	// Version and WriteID are those of the record after the change. Both are ""
	// when it is gone or cannot be read.
	Version string
	WriteID string
	// Gone: there is no such record any more.
	Gone bool
	// All: the watch lost track, and any record may have changed. Nothing else
	// is set then.
	All bool
}

// Watcher is a store that tells of changes, whoever makes them: this Store,
// another process that uses a Store, or a person with the backend's own tools.
type Watcher interface {
	Store

	// Watch calls changed for every change until ctx ends, and returns
	// ctx.Err() then; after Close it returns ErrClosed. Any other error is the
	// reason why it cannot go on: the caller calls it again after a pause.
	//
	// The first call is Change{All: true}, made once the watch stands. From
	// then on no change is missed, until All is told again. Changes that follow
	// each other closely may be told as the last of them. One may be told more
	// than once, late, and may be one that this very Store made: Version and
	// WriteID tell. The store has a change already when it is told, or has a
	// later one.
	//
	// Calls of changed do not overlap. It may use the store, except to close
	// it: Close waits until Watch has returned.
	Watch(ctx context.Context, changed func(Change)) error
}
