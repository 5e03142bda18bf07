package subjects

import "time"

// MaxStores bounds the stores of one replica in a reply.
const MaxStores = 1000

// The states of a store.
const (
	// StoreOK: the store answered when it was last asked.
	StoreOK = "ok"
	// StoreFailing: calls are refused without a try, except probes.
	StoreFailing = "failing"
)

// What a store that is StoreFailing refuses.
const (
	RefusesReads  = "reads"
	RefusesWrites = "writes"
	RefusesAll    = "all"
)

// StoreState says whether a store of a replica answers.
type StoreState struct {
	Name  string    `wire:"name"`  // "default", or the name in the setting stores
	Type  string    `wire:"type"`  // the setting store.type
	State string    `wire:"state"` // StoreOK or StoreFailing
	Since time.Time `wire:"since"` // since when State and Refuses are what they are
	Error Code      `wire:"error"` // what calls failed with, if it is StoreFailing
	// Refuses says which calls are refused without a try: RefusesReads, RefusesWrites or
	// RefusesAll. A store that is StoreFailing always has it, except from workers of early
	// versions, which refused all.
	Refuses string `wire:"refuses"`
}

// StoreStatus is what a replica publishes when one of its stores begins to fail, or answers
// again.
type StoreStatus struct {
	StoreState
	Replica string `wire:"replica"`
}

// ScopeStats are what one replica has cached of a scope and all scopes below it. They
// tell a tenant nothing of others.
type ScopeStats struct {
	Replica  string `wire:"replica"`
	Trusted  bool   `wire:"trusted"` // whether the replica answers from its cache
	Entries  int64  `wire:"entries,always"`
	Negative int64  `wire:"negative,always"` // how many Entries say that a credential does not exist
	Bytes    int64  `wire:"bytes,always"`    // of values, as cache.bytes counts them
}

// ReplicaStats are the statistics of one replica's cache, counted since the
// replica started, and the state of its stores.
type ReplicaStats struct {
	Replica   string `wire:"replica"`
	Host      string `wire:"host"` // where it runs
	Hits      int64  `wire:"hits,always"`
	Misses    int64  `wire:"misses,always"`
	Evictions int64  `wire:"evictions,always"` // entries dropped to make room
	Expired   int64  `wire:"expired,always"`   // entries found past their TTL or idle time
	Refused   int64  `wire:"refused,always"`   // fills refused because the entry changed meanwhile
	Entries   int64  `wire:"entries,always"`
	Negative  int64  `wire:"negative,always"` // how many Entries say that a credential does not exist
	Capacity  int64  `wire:"capacity,always"` // the most Entries may be
	Bytes     int64  `wire:"bytes,always"`
	MaxBytes  int64  `wire:"max_bytes,always" derived:"hit_rate,HitRate"` // the most Bytes may be
	// Trust is "trusted" if the replica answers from its cache, or says why it does not.
	Trust string `wire:"trust"`
	// Stores are in the order of their names. Replicas of early versions send none.
	Stores []StoreState `wire:"stores,max=MaxStores"`
}

// HitRate is the share of reads that the cache answered, 0 to 1.
func (s *ReplicaStats) HitRate() float64 {
	if s.Hits+s.Misses == 0 {
		return 0
	}
	return float64(s.Hits) / float64(s.Hits+s.Misses)
}
