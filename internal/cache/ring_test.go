package cache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRingDisplacesNothingLive turns the ring over many times, full to its
// bound with live entries. All of them stay, and what is written again is less
// than what is put, since at least half of every turn is dead.
func TestRingDisplacesNothingLive(t *testing.T) {
	const live, rounds = 1000, 15_000
	value := func(i int) string { return fmt.Sprintf("%04000d", i) }
	c := newCache(t, Config{Entries: live + 1, Bytes: (live + 1) * 4000})
	for i := range live {
		mustPut(t, c, "org:a", fmt.Sprint(i), value(i))
	}
	for round := range rounds { // 60 MB through a ring of 9 MiB
		mustPut(t, c, "org:b", "changing", value(round))
		wantHit(t, c, "org:a", fmt.Sprint(round%live), value(round%live))
	}
	for i := range live {
		wantHit(t, c, "org:a", fmt.Sprint(i), value(i))
	}
	s := c.Stats()
	t.Logf("%d rewrites for %d puts", s.Rewrites, live+rounds)
	if s.Misses != 0 || s.Evictions != 0 {
		t.Errorf("something was lost: %+v", s)
	}
	if s.Rewrites < 3*live || s.Rewrites > live+rounds {
		t.Errorf("%d rewrites: want three turns of the ring, and less than the puts", s.Rewrites)
	}
}

// TestLargestValuesAlwaysFit mixes the smallest values with the largest, full
// to the bound, which is where a ring runs out of room in one piece.
func TestLargestValuesAlwaysFit(t *testing.T) {
	for _, size := range []int64{MinBytes, 90 << 10, 1 << 20, 2_300_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := newCache(t, Config{Entries: 50, Bytes: size})
			largest := int(min(size, MaxValueLen))
			random := rand.New(rand.NewPCG(1, uint64(size)))
			held := map[string]string{}
			for i := range 200 + int(1e7/size) {
				n := random.IntN(largest + 1)
				switch random.IntN(4) {
				case 0:
					n = largest
				case 1:
					n = random.IntN(64)
				}
				id := fmt.Sprint(random.IntN(60))
				held[id] = strings.Repeat(string(rune('a'+i%26)), n)
				mustPut(t, c, "org:a", id, held[id])
				wantHit(t, c, "org:a", id, held[id])
			}
			stats, hits := c.Stats(), 0
			for id, value := range held {
				if got, ok := get(c, "org:a", id); ok {
					hits++
					if got != value {
						t.Fatalf("%s has another value", id)
					}
				}
			}
			if hits != stats.Entries || stats.Refused != 0 {
				t.Errorf("%d of the entries are found: %+v", hits, stats)
			}
			t.Logf("%+v", stats)
		})
	}
}

// TestRingStaysSmallAroundFewEntries checks that the ring does not grow to what
// its bound allows when it has only dead entries to hold.
func TestRingStaysSmallAroundFewEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{TTL: 10 * time.Second})
		value := strings.Repeat("v", 1000)
		for i := range 100_000 { // 100 a second
			if i%500 == 0 { // before its TTL ends
				mustPut(t, c, "org:a", "steady", value)
			}
			mustPut(t, c, "org:a", "id", value)
			time.Sleep(10 * time.Millisecond)
		}
		if n := c.ring.cache.Capacity(); n > 4<<20 {
			t.Errorf("the ring has %d bytes for 12 s of 100 KB each", n)
		}
		wantHit(t, c, "org:a", "id", value)
		if s := c.Stats(); s.Rewrites != 0 {
			t.Errorf("live entries were displaced by age: %+v", s)
		}
	})
}

// TestRingKeepsWhatIsWantedHoweverOld is about a wall clock that was set
// forward: to bigcache everything is old then, to the index nothing is.
func TestRingKeepsWhatIsWantedHoweverOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := newRing(Config{TTL: time.Second}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		old, dead := r.nextKey(), r.nextKey()
		wanted := func(key string) bool { return key != dead }
		r.set(old, []byte("old"), wanted)
		r.set(dead, []byte("dead"), wanted)
		time.Sleep(time.Hour)
		for range 10 {
			r.set(r.nextKey(), []byte("new"), wanted)
		}
		if got, ok := r.get(old); !ok || string(got) != "old" {
			t.Errorf("what is wanted was dropped: %q, %v", got, ok)
		}
		if got, ok := r.get(dead); ok {
			t.Errorf("what nobody wants is still there: %q", got)
		}
	})
}

// TestMemoryIsBounded holds the heap to what the package comment promises,
// under a load that evicts all the time.
func TestMemoryIsBounded(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what a sync.Pool holds is freed by the second
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	loads := []struct {
		config Config
		puts   int
		size   int // values have 0 to size bytes
	}{
		{Config{Entries: 1000, Bytes: 2 << 20}, 40_000, 4 << 10}, // the bytes bind
		{Config{Entries: 1000}, 40_000, 4 << 10},                 // the entries bind
		{Config{Entries: 20_000, Bytes: MinBytes}, 100_000, 0},   // the index is all there is
		{Config{Entries: 1000, Bytes: 4 << 20}, 3_000, 90 << 10},
	}
	for _, load := range loads {
		config := load.config.withDefaults()
		before := heap()
		c := newCache(t, config)
		random := rand.New(rand.NewPCG(7, 7))
		value := make([]byte, load.size)
		limit := int64(ringMiB(config))<<20 + int64(config.Entries)*(450+64) + 256<<10
		var most int64
		for i := range load.puts {
			scope, id := "org:acme/team:eng/service:api", fmt.Sprint("credential-", random.IntN(3*config.Entries))
			if !c.Put(scope, id, value[:random.IntN(load.size+1)], 0) {
				t.Fatal("Put was refused")
			}
			s := c.Stats()
			if s.Entries > config.Entries || s.Bytes > config.Bytes {
				t.Fatalf("over the bound: %+v", s)
			}
			if i%(load.puts/10) == load.puts/10-1 {
				most = max(most, heap()-before)
			}
		}
		s := c.Stats()
		if s.Evictions == 0 {
			t.Errorf("nothing was evicted: %+v", s)
		}
		if most > limit {
			t.Errorf("%+v: %d bytes of heap, more than %d", config, most, limit)
		}
		index := most - int64(c.ring.cache.Capacity())
		t.Logf("%d entries, %d KiB live: heap %d KiB of %d KiB, ring %d KiB, index %d bytes an entry, %.1f %% more writes",
			s.Entries, s.Bytes>>10, most>>10, limit>>10, c.ring.cache.Capacity()>>10,
			index/int64(s.Entries), 100*float64(s.Rewrites)/float64(load.puts))
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		runtime.KeepAlive(value)
	}
}
