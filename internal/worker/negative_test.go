package worker

import (
	"testing"
	"time"

	"credbus/internal/cache"
	"credbus/subjects"
)

// cache.negative_ttl is how long the cache keeps an absence, which counts among
// the entries; 0s still leaves a cache that works.
func TestNegativeTTL(t *testing.T) {
	for setting, ends := range map[string]bool{"5ms": true, "0s": false, "1h": false} {
		b := newBed(t, "CREDBUS_STORE_TYPE=memory", "CREDBUS_CACHE_NEGATIVE_TTL="+setting)
		if !b.cache.Put("org:acme", "none", nil, cache.Absent) {
			t.Fatalf("%s: an absence was refused", setting)
		}
		if stats := b.stats(); !ends && (stats.Entries != 1 || stats.Negative != 1) {
			t.Errorf("%s: stats %+v", setting, stats)
		}
		if ends {
			time.Sleep(6 * time.Millisecond)
		}
		if _, _, ok := b.cache.Get(nil, []byte("org:acme"), []byte("none")); ok == ends {
			t.Errorf("%s: the absence is held: %v", setting, ok)
		}
		b.cache.Clear()
		b.hit(t, "org:acme", "db", b.put(t, "org:acme", "db", "kept").Revision)
		reply := new(subjects.CacheStatsReply)
		b.must(t, subjects.CacheStats, subjects.Root, &subjects.CacheStatsRequest{}, reply)
		if s := reply.Replicas[0]; s.Entries != 1 || s.Negative != 0 {
			t.Errorf("%s: %+v", setting, s)
		}
	}
}
