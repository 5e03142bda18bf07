package store

import (
	"context"

	"credbus/subjects"
)

// Change reports that a record was written or removed. It is a reason to call
// Get, not a copy of the record.
type Change struct {
	subjects.Target
	// Version and WriteID are those of the record after the change. Both are ""
	// if the record is gone or cannot be read.
	Version string
	WriteID string
	// Gone means that the record no longer exists.
	Gone bool
	// All means that the watch lost track, and any record may have changed. No
	// other field is set then.
	All bool
}

// Watcher is a store that reports all changes: by this Store, by another process
// that uses a Store, or by a person with the backend's own tools.
type Watcher interface {
	Store

	// Watch calls changed for every change until ctx ends, and returns
	// ctx.Err() then; after Close it returns ErrClosed. Any other error is the
	// reason why it cannot continue. Then the caller should call it again after
	// a pause.
	//
	// The first call is Change{All: true}, once the watch works. From then on
	// it misses no change until the next All. Of changes in quick succession it
	// may report only the last. It may report a change more than once, late,
	// and also one that this Store made: Version and WriteID show that. When it
	// reports a change, the store already has it, or a later one.
	//
	// Calls of changed do not overlap. changed may use the store, but not close
	// it: Close waits until Watch has returned.
	Watch(ctx context.Context, changed func(Change)) error
}
