package coherence

import (
	"context"
	"math"
	"time"

	"credbus/subjects"
)

// Kinds of entries besides the public ones of package subjects. The public kinds that
// end a write say that it had an effect.
const (
	// Intent announces a write before it reaches the store.
	Intent subjects.EventKind = "intent"
	// Unchanged ends a write that had no effect on the store.
	Unchanged subjects.EventKind = "unchanged"
	// Unknown ends a write whose outcome is unknown: it may have taken effect, or
	// may still do so.
	Unknown subjects.EventKind = "unknown"
	// Flush drops a scope and all below it, or one credential.
	Flush subjects.EventKind = "flush"
	// Ping proves to its own replica that it has applied what came before.
	Ping subjects.EventKind = "ping"
	// Leave says that a replica no longer answers anything.
	Leave subjects.EventKind = "leave"
	// Mark carries nothing: its place shows where the log ended.
	Mark subjects.EventKind = "mark"
)

// changesNothing reports whether an entry leaves every key as it was, so that
// no reply needs to carry its revision.
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
	// Append adds an entry and returns its place once it is durable. Where the log
	// has several copies, that takes a majority of them. An entry whose Append
	// failed may be in the log all the same, or still get there.
	Append(ctx context.Context, entry *subjects.Event) (subjects.Revision, error)

	// End returns the place of the last entry. Every entry whose Append returned
	// before End was called is at that place or before it.
	End(ctx context.Context) (subjects.Revision, error)

	// Follow hands the log to f, the follower of the named replica, until ctx ends or
	// the log cannot be followed any longer, and returns the reason. It first opens the
	// log that exists now. Then it delivers the entries after from, if they continue
	// that log, and otherwise those younger than window. Calls to f do not overlap,
	// except for Acknowledged.
	Follow(ctx context.Context, replica string, from subjects.Revision, window time.Duration, f Follower) error

	// Acknowledge tells the replica to that the replica from has applied the intent
	// of a write. The message may get lost.
	Acknowledge(from, to, write string)
}

// Follower receives what happens to the log.
type Follower interface {
	// Open says which log is followed from now on, where it ended a moment ago, and
	// its age: for how long it has kept every entry. The age is Forever if no write
	// was ever announced that the log does not have.
	Open(end subjects.Revision, age time.Duration)
	// Deliver hands over an entry. Entries should come in order, each once, but a
	// Follower must not rely on that.
	Deliver(at subjects.Revision, entry *subjects.Event)
	// Acknowledged says that a replica has applied the intent of a write.
	Acknowledged(replica, write string)
}
