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
	// Version is the credential's version after the change, or the one that expires. It is
	// empty if the credential was deleted.
	Version string    `wire:"version"`
	At      time.Time `wire:"at"`       // when, by the clock of the worker that made or found the change
	WriteID string    `wire:"write_id"` // names the write
	Replica string    `wire:"replica"`  // the worker that made the change, or found it first
	// Acknowledge asks the replicas to say when they have applied this. It is between the
	// replicas.
	Acknowledge bool `wire:"acknowledge"`
	// Hold is how long the write may still take effect after it was announced. It is
	// between the replicas.
	Hold time.Duration `wire:"hold"`
	// Revision is that of the change. A read that names it sees the change.
	Revision Revision `wire:"revision"`
	// Expires is when the credential expires or has expired. Only EventExpiring and
	// EventExpired have it.
	Expires time.Time `wire:"expires"`
	// Index is the consistency index that the store gave the write. It is between the
	// replicas, which seal it so that clients cannot read it.
	Index string `wire:"index,max=MaxIndexLen"`
	// Lease is how long the worker may answer from its cache after it sent this. It is
	// between the replicas.
	Lease    time.Duration `wire:"lease"`
	Protocol int           `wire:"protocol"` // the version of the protocol between the replicas
}

// MaxIndexLen bounds an Index, in bytes.
const MaxIndexLen = 2048
