package subjects

import "time"

// MaxStores bounds the stores of one replica in a reply.
const MaxStores = 1000

// The states of a store.
const (
	// StoreOK: it answered when it was last asked.
	StoreOK = "ok"
	// StoreFailing: calls are refused without a try, but for probes.
	StoreFailing = "failing"
)

// What a store that is StoreFailing refuses.
const (
	RefusesReads  = "reads"
	RefusesWrites = "writes"
	RefusesAll    = "all"
)

// StoreState is how a replica finds one of its stores.
type StoreState struct {
	Name  string    // "default", or as in stores of its configuration
	Type  string    // store.type
	State string    // StoreOK or StoreFailing
	Since time.Time // when it began
	Error Code      // what calls failed with; of StoreFailing only
	// Refuses is which calls are refused: RefusesReads, RefusesWrites or RefusesAll; of
	// StoreFailing only. Replicas that do not tell refuse all.
	Refuses string
}

func (s *StoreState) encode(e *encoder) {
	e.str("name", s.Name)
	e.str("type", s.Type)
	e.str("state", s.State)
	e.time("since", s.Since)
	e.str("error", string(s.Error))
	e.str("refuses", s.Refuses)
}

func (s *StoreState) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "name":
		s.Name = d.str(maxTextLen)
	case "type":
		s.Type = d.str(maxTextLen)
	case "state":
		s.State = d.str(maxTextLen)
	case "since":
		s.Since = d.time("since")
	case "error":
		s.Error = Code(d.str(maxTextLen))
	case "refuses":
		s.Refuses = d.str(maxTextLen)
	default:
		return false
	}
	return true
}

// StoreStatus is the body of what a replica tells when one of its stores begins to
// fail, or answers again.
type StoreStatus struct {
	StoreState
	Replica string
}

func (s *StoreStatus) encode(e *encoder) {
	s.StoreState.encode(e)
	e.str("replica", s.Replica)
}

func (s *StoreStatus) field(d *decoder, name []byte) bool {
	if string(name) == "replica" {
		s.Replica = d.str(maxTextLen)
		return true
	}
	return s.StoreState.field(d, name)
}

// ScopeStats are what one replica has cached of a scope and all scopes below it. They
// tell a tenant nothing of others.
type ScopeStats struct {
	Replica  string
	Trusted  bool // whether the replica answers from its cache
	Entries  int64
	Negative int64 // those of Entries that say that a credential does not exist
	Bytes    int64 // of values, as cache.bytes counts them
}

func (s *ScopeStats) counters() []counter {
	return []counter{{"entries", &s.Entries}, {"negative", &s.Negative}, {"bytes", &s.Bytes}}
}

func (s *ScopeStats) encode(e *encoder) {
	e.str("replica", s.Replica)
	e.boolean("trusted", s.Trusted)
	e.counters(s.counters())
}

func (s *ScopeStats) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "replica":
		s.Replica = d.str(maxTextLen)
	case "trusted":
		s.Trusted = d.boolean()
	default:
		return d.counter(s.counters(), name)
	}
	return true
}

// ReplicaStats are the statistics of one replica's cache, counted since the
// replica started, and the state of its stores.
type ReplicaStats struct {
	Replica   string
	Host      string // where it runs
	Hits      int64
	Misses    int64
	Evictions int64 // entries dropped to make room
	Expired   int64 // entries found past their TTL or idle time
	Refused   int64 // fills refused because the entry changed meanwhile
	Entries   int64
	Negative  int64 // those of Entries that say that a credential does not exist
	Capacity  int64 // the most Entries may be
	Bytes     int64
	MaxBytes  int64 // the most Bytes may be
	// Trust says whether the replica answers from its cache: "trusted", or
	// why not.
	Trust string
	// Stores are in the order of their names; none of a replica of before there
	// was this field.
	Stores []StoreState
}

// HitRate is the share of reads that the cache answered, 0 to 1.
func (s *ReplicaStats) HitRate() float64 {
	if s.Hits+s.Misses == 0 {
		return 0
	}
	return float64(s.Hits) / float64(s.Hits+s.Misses)
}

// counters are the numbers of s by field name, for both directions.
func (s *ReplicaStats) counters() []counter {
	return []counter{
		{"hits", &s.Hits},
		{"misses", &s.Misses},
		{"evictions", &s.Evictions},
		{"expired", &s.Expired},
		{"refused", &s.Refused},
		{"entries", &s.Entries},
		{"negative", &s.Negative},
		{"capacity", &s.Capacity},
		{"bytes", &s.Bytes},
		{"max_bytes", &s.MaxBytes},
	}
}

func (s *ReplicaStats) encode(e *encoder) {
	e.str("replica", s.Replica)
	e.str("host", s.Host)
	e.counters(s.counters())
	e.float("hit_rate", s.HitRate())
	e.str("trust", s.Trust)
	if len(s.Stores) > 0 {
		e.array("stores", len(s.Stores))
		for i := range s.Stores {
			e.message(&s.Stores[i])
		}
	}
}

func (s *ReplicaStats) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "replica":
		s.Replica = d.str(maxTextLen)
	case "host":
		s.Host = d.str(maxTextLen)
	case "trust":
		s.Trust = d.str(maxTextLen)
	case "stores":
		s.Stores = messages[StoreState](d, MaxStores, nil)
	default:
		return d.counter(s.counters(), name) // but for hit_rate, which follows from hits and misses
	}
	return true
}
