package cache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// checkSegments compares the counts of the segments with the entries of the index.
func checkSegments(t *testing.T, c *Cache) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.segments
	var capacity, live int64
	n := 0
	for _, at := range s.all {
		var frames int64
		for _, e := range at.entries.appendTo(nil) {
			if e.place.segment != at || c.index.byName[e.name] != e {
				t.Fatalf("a segment lists an entry that is elsewhere or gone: %+v", e.place)
			}
			frames += e.frame()
		}
		if frames != at.live || at.live > at.capacity || at.full && at.entries.n == 0 {
			t.Fatalf("a segment counts %d live bytes of %d, has %d in %d entries", at.live, at.capacity, frames, at.entries.n)
		}
		if array := len(bytesOf(at)); int64(array) != at.capacity {
			t.Fatalf("the array of a segment of %d bytes has %d: it grew", at.capacity, array)
		}
		capacity, live, n = capacity+at.capacity, live+frames, n+at.entries.n
	}
	if capacity != s.capacity || live != s.live || n != len(c.index.byName) {
		t.Fatalf("segments count %d bytes, %d live, have %d, %d, and %d entries of %d", s.capacity, s.live, capacity, live, n, len(c.index.byName))
	}
}

// TestCompactionLosesNothing turns a cache over many times, full to its bound with
// live entries. All of them stay, and the number of rewrites is in proportion to that of
// puts.
func TestCompactionLosesNothing(t *testing.T) {
	const live, rounds = 1000, 15_000
	value := func(i int) string { return fmt.Sprintf("%04000d", i) }
	c := newCache(t, Config{Entries: live + 1, Bytes: (live + 1) * 4000})
	for i := range live {
		mustPut(t, c, "org:a", fmt.Sprint(i), value(i))
	}
	random := rand.New(rand.NewPCG(6, 6))
	for round := range rounds { // 60 MB through 4 MB
		i := random.IntN(live)
		mustPut(t, c, "org:a", fmt.Sprint(i), value(i))
		wantHit(t, c, "org:a", fmt.Sprint(round%live), value(round%live))
	}
	for i := range live {
		wantHit(t, c, "org:a", fmt.Sprint(i), value(i))
	}
	checkSegments(t, c)
	s := c.Stats()
	t.Logf("%d rewrites for %d puts", s.Rewrites, live+rounds)
	if s.Misses != 0 || s.Evictions != 0 {
		t.Errorf("something was lost: %+v", s)
	}
	if s.Rewrites == 0 || s.Rewrites > 4*(live+rounds) {
		t.Errorf("%d rewrites: want some, and at most four for each put", s.Rewrites)
	}
}

// TestClearAmidCompaction clears the cache between two moves of a compaction: no entry
// comes back.
func TestClearAmidCompaction(t *testing.T) {
	c := newCache(t, Config{Entries: 100})
	put := func() {
		for i := range 100 {
			mustPut(t, c, "org:a", fmt.Sprint(i), strings.Repeat("v", 1000))
		}
	}
	put()
	from := c.segments.all[0]
	entries := from.entries.appendTo(nil)
	if len(entries) == 0 {
		t.Fatal("the segment has no entries, so this test shows nothing")
	}
	c.Clear()
	c.move(entries[0], from)
	put()
	for _, e := range entries[1:] {
		c.move(e, from)
	}
	checkSegments(t, c)
	before := c.Stats().Rewrites
	put()
	if n := c.Stats().Rewrites - before; n > 400 {
		t.Errorf("%d rewrites for 100 puts", n)
	}
}

// TestCompactionOfScatteredEntries drops most entries, at random. The rest moves
// together as more is put, and none of it is lost.
func TestCompactionOfScatteredEntries(t *testing.T) {
	const entries = 20_000
	c := newCache(t, Config{Entries: entries})
	random := rand.New(rand.NewPCG(5, 5))
	value := func(i int) string { return fmt.Sprintf("%0500d", i) }
	var kept []int
	for i := range entries {
		mustPut(t, c, "org:a", fmt.Sprint(i), value(i))
	}
	for i := range entries {
		if random.IntN(10) == 0 {
			kept = append(kept, i)
		} else {
			c.Drop("org:a", fmt.Sprint(i))
		}
	}
	before := c.segments.capacity
	mustPut(t, c, "org:a", "another", "value")
	checkSegments(t, c)
	if after := c.segments.capacity; after > before*2/3 {
		t.Errorf("segments take %d bytes for %d live ones, %d before", after, c.segments.live, before)
	}
	for _, i := range kept {
		wantHit(t, c, "org:a", fmt.Sprint(i), value(i))
	}
}

// TestLargestValuesAlwaysFit mixes the smallest values with the largest, up to the
// bound: there a segment may have no room for the next value.
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

// TestFewEntriesTakeLittle checks that overwritten values do not pile up around a few
// entries.
func TestFewEntriesTakeLittle(t *testing.T) {
	c := newCache(t, Config{})
	value := strings.Repeat("v", 1000)
	mustPut(t, c, "org:a", "steady", value)
	for range 20_000 {
		mustPut(t, c, "org:a", "id", value)
		if n := c.segments.capacity; n > 4*minSegment {
			t.Fatalf("segments take %d bytes for two values of 1,000", n)
		}
	}
	wantHit(t, c, "org:a", "steady", value)
	wantHit(t, c, "org:a", "id", value)
	c.Clear()
	if c.segments.capacity != 0 {
		t.Errorf("segments take %d bytes for no entry", c.segments.capacity)
	}
}

// TestMemoryIsBounded checks that the heap stays within what the package comment
// promises, under a load that evicts all the time.
func TestMemoryIsBounded(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // the second one frees what a sync.Pool holds
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	loads := []struct {
		config Config
		puts   int
		size   int // values have 0 to size bytes
	}{
		{Config{Entries: 1000, Bytes: 2 << 20}, 40_000, 4 << 10}, // Bytes is the limit
		{Config{Entries: 1000}, 40_000, 4 << 10},                 // Entries is the limit
		{Config{Entries: 20_000, Bytes: MinBytes}, 100_000, 0},   // the memory is that of the index
		{Config{Entries: 1000, Bytes: 4 << 20}, 3_000, 90 << 10},
	}
	for _, load := range loads {
		config := load.config.withDefaults()
		before := heap()
		c := newCache(t, config)
		random := rand.New(rand.NewPCG(7, 7))
		value := make([]byte, load.size)
		live := config.Bytes + int64(config.Entries)*frameOverhead
		frame := int64(load.size) + frameOverhead
		largest := max(min(max(live/segmentParts, minSegment), maxSegment), segmentParts*frame)
		limit := live + live/4 + 3*largest + int64(config.Entries)*(300+64) + 512<<10
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
		index := most - c.segments.capacity
		t.Logf("%d entries, %d KiB live: heap %d KiB of %d KiB, segments %d KiB, index %d bytes an entry, %.1f %% more writes",
			s.Entries, s.Bytes>>10, most>>10, limit>>10, c.segments.capacity>>10,
			index/int64(s.Entries), 100*float64(s.Rewrites)/float64(load.puts))
		c.Close()
		runtime.KeepAlive(value)
	}
}
