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
	Kind EventKind
	Target
	// Version is the credential's version after the change, empty when it was
	// deleted; the one that expires.
	Version string
	// Revision is one that a read must name to be sure to see the change.
	Revision Revision
	At       time.Time // the clock of the worker that made the change, or found it
	// WriteID names the write between the replicas.
	WriteID string
	// Replica names the worker that made the change, or noticed it first.
	Replica string
	// Acknowledge asks the replicas to tell that worker once they have applied
	// this; between the replicas only.
	Acknowledge bool
	// Hold is for how long a write of that worker may still take effect after it was
	// announced; between the replicas only.
	Hold time.Duration
	// Expires is when the credential expires or has expired; of EventExpiring and
	// EventExpired only.
	Expires time.Time
	// Index is the consistency index that the store gave the write; between the replicas
	// only, which seal it, so that clients cannot read it.
	Index string
	// Lease is for how long that worker may answer from its cache after it sent this,
	// Protocol the version of what the replicas say to each other; between the replicas
	// only.
	Lease    time.Duration
	Protocol int
}

// MaxIndexLen bounds an Index, in bytes.
const MaxIndexLen = 2048

func (v *Event) encode(e *encoder) {
	e.str("event", string(v.Kind))
	v.Target.encode(e)
	e.str("version", v.Version)
	e.time("at", v.At)
	e.str("write_id", v.WriteID)
	e.str("replica", v.Replica)
	e.boolean("acknowledge", v.Acknowledge)
	e.milliseconds("hold", v.Hold)
	e.revision("revision", v.Revision)
	e.time("expires", v.Expires)
	e.str("index", v.Index)
	e.milliseconds("lease", v.Lease)
	e.integer("protocol", int64(v.Protocol))
}

func (v *Event) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "event":
		v.Kind = EventKind(d.str(maxTextLen))
	case "version":
		v.Version = d.str(maxTextLen)
	case "at":
		v.At = d.time("at")
	case "write_id":
		v.WriteID = d.str(maxTextLen)
	case "replica":
		v.Replica = d.str(maxTextLen)
	case "acknowledge":
		v.Acknowledge = d.boolean()
	case "hold":
		v.Hold = d.milliseconds()
	case "revision":
		v.Revision = d.revision()
	case "expires":
		v.Expires = d.time("expires")
	case "index":
		v.Index = d.str(MaxIndexLen)
	case "lease":
		v.Lease = d.milliseconds()
	case "protocol":
		v.Protocol = d.count("protocol")
	default:
		return v.Target.field(d, name)
	}
	return true
}
