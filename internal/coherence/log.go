package coherence

import (
	"context"

	"credbus/subjects"
)

// Kinds of entries beside the public ones of package subjects, which say that
// a write is done and had an effect.
const (
	// Intent announces a write before it reaches the store.
	Intent subjects.EventKind = "intent"
	// Unchanged ends a write that had no effect on the store.
	Unchanged subjects.EventKind = "unchanged"
	// Unknown ends a write of which nobody knows whether it has landed or is
	// still to land.
	Unknown subjects.EventKind = "unknown"
	// Flush drops a scope and all below it, or one credential.
	Flush subjects.EventKind = "flush"
)

// Log is an ordered log that all replicas share.
type Log interface {
	// Append adds an entry and returns its place once it is durable. An entry
	// whose append failed may be in the log all the same.
	Append(ctx context.Context, entry *subjects.Event) (subjects.Revision, error)

	// End returns the place of the last entry. No entry whose Append returned
	// before End was called stands after it.
	End(ctx context.Context) (subjects.Revision, error)

	// Follow hands the log to f until ctx ends. Calls to f do not overlap.
	Follow(ctx context.Context, f Follower)
}

// Follower is told what happens to the log.
type Follower interface {
	// Begin says that entries follow which continue those applied before, or,
	// with gap, that some may have been missed.
	Begin(gap bool)
	// Apply hands over the next entry.
	Apply(at subjects.Revision, entry *subjects.Event)
	// Current says that everything up to the log's end at the last Begin has
	// been applied, and that this end was at.
	Current(at subjects.Revision)
	// Lost says that the log cannot be followed for now.
	Lost(reason string)
}
