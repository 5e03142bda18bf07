package subjects

import "time"

// EventKind says what happened to a credential.
type EventKind string

// The kinds of change events.
const (
	EventStored  EventKind = "stored"
	EventDeleted EventKind = "deleted"
	// EventExpiring says that a credential is going to expire, and EventExpired
	// that it has. Neither changes it.
	EventExpiring EventKind = "expiring"
	EventExpired  EventKind = "expired"
)

// Event is the body of a change event. It never holds a value.
type Event struct {
	Kind EventKind `wire:"event"`
	Target
	// Version is the credential's version after the change, empty when it was
	// deleted; the one that expires.
	Version string    `wire:"version"`
	At      time.Time `wire:"at"` // the clock of the worker that made the change, or found it
	// WriteID names the write between the replicas.
	WriteID string `wire:"write_id"`
	// Replica names the worker that made the change, or noticed it first.
	Replica string `wire:"replica"`
	// Acknowledge asks the replicas to tell that worker once they have applied
	// this; between the replicas only.
	Acknowledge bool `wire:"acknowledge"`
	// Hold is for how long a write of that worker may still take effect after it was
	// announced; between the replicas only.
	Hold time.Duration `wire:"hold"`
	// Revision is one that a read must name to be sure to see the change.
	Revision Revision `wire:"revision"`
	// Expires is when the credential expires or has expired; of EventExpiring and
	// EventExpired only.
	Expires time.Time `wire:"expires"`
	// Index is the consistency index that the store gave the write; between the replicas
	// only, which seal it, so that clients cannot read it.
	Index string `wire:"index,max=MaxIndexLen"`
	// Lease is for how long that worker may answer from its cache after it sent this,
	// Protocol the version of what the replicas say to each other; between the replicas
	// only.
	Lease    time.Duration `wire:"lease"`
	Protocol int           `wire:"protocol"`
}

// MaxIndexLen bounds an Index, in bytes.
const MaxIndexLen = 2048
