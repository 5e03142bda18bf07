package coherence

import (
	"context"
	"math"
	"time"

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
	// Ping is a replica's proof to itself that it has applied what came before.
	Ping subjects.EventKind = "ping"
	// Leave says that a replica answers nothing any more.
	Leave subjects.EventKind = "leave"
	// Mark says nothing: its place is where the log ended.
	Mark subjects.EventKind = "mark"
)

// changesNothing reports whether an entry leaves every key as it was, so that
// no reply need carry its revision.
func changesNothing(kind subjects.EventKind) bool {
	switch kind {
	case Ping, Leave, Mark, subjects.EventExpiring, subjects.EventExpired:
		return true
	}
	return false
}

// Forever is the age of a log that replaced no other.
const Forever = time.Duration(math.MaxInt64)

// Log is an ordered log that all replicas share.
type Log interface {
	// Append adds an entry and returns its place once it is durable, which
	// takes a majority of the log's copies where there are several. An entry
	// whose append failed may be in the log all the same, or still get there.
	Append(ctx context.Context, entry *subjects.Event) (subjects.Revision, error)

	// End returns the place of the last entry. No entry whose Append returned
	// before End was called stands after it.
	End(ctx context.Context) (subjects.Revision, error)

	// Follow hands the log to f, which is the replica's of that name, until ctx ends or the log cannot be followed
	// any longer, and says why. It first tells of the log that is there now,
	// then of the entries after from, if they continue that log, and otherwise
	// of those that are younger than window. Calls to f do not overlap, but
	// for Acknowledged.
	Follow(ctx context.Context, replica string, from subjects.Revision, window time.Duration, f Follower) error

	// Acknowledge tells the replica named to that the one named from has
	// applied the intent of a write. It may get lost.
	Acknowledge(from, to, write string)
}

// Follower is told what happens to the log.
type Follower interface {
	// Open says which log it is that is followed from now on, where it ended a
	// moment ago, and its age, which is for how long it has kept every entry:
	// Forever if no write was ever announced that it does not have.
	Open(end subjects.Revision, age time.Duration)
	// Deliver hands over an entry. Entries should come in order, each once; a
	// Follower does not rely on that.
	Deliver(at subjects.Revision, entry *subjects.Event)
	// Acknowledged says that a replica has applied the intent of a write.
	Acknowledged(replica, write string)
}
