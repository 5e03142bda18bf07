package cache

// Stats are the counters of a Cache since New, and its fill.
type Stats struct {
	Hits      uint64
	Misses    uint64
	Evictions uint64 // live entries evicted for a bound: the least recently used, or the oldest negative one
	Expired   uint64 // entries that passed TTL, NegativeTTL or Idle, counted when they are found
	Refused   uint64 // values given to Put that were too large
	Rewrites  uint64 // live entries written again because most of their segment was dead

	// Entries, Negative and Bytes include expired entries that were not found
	// yet, for at most a second. None of them ever exceeds its bound.
	Entries       int
	Negative      int // those of Entries that say that a name does not exist
	Capacity      int
	Bytes         int64 // lengths of the values, as Config.Bytes counts them
	BytesCapacity int64
}

// Fill is what a Cache holds of a scope and all scopes below it.
type Fill struct {
	Entries  int   // including expired ones that were not found yet
	Negative int   // those of Entries that say that a name does not exist
	Bytes    int64 // lengths of the values
}

// HitRate is the part of lookups that hit, 0 to 1; 0 before the first.
func (s Stats) HitRate() float64 {
	lookups := s.Hits + s.Misses
	if lookups == 0 {
		return 0
	}
	return float64(s.Hits) / float64(lookups)
}
