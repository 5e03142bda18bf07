package jetstream

import (
	"testing"
	"time"
)

// SetMarkerTTL changes how long s assumes that markers stay.
func (s *Store) SetMarkerTTL(ttl time.Duration) { s.markerTTL = ttl }

// SetNamesBytes changes how many bytes of names are remembered, for a test that runs
// alone.
func SetNamesBytes(t testing.TB, most int) {
	before := namesBytes
	namesBytes = most
	t.Cleanup(func() { namesBytes = before })
}
