package jetstream

import "time"

// SetMarkerTTL changes how long s believes markers to stay.
func (s *Store) SetMarkerTTL(ttl time.Duration) { s.markerTTL = ttl }
