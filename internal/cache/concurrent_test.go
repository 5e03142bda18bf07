package cache

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// version is a value of the tests below. It names its key and number, and its length
// depends on both, so that no value can pass for another.
func version(key, n int) []byte {
	value := binary.BigEndian.AppendUint32(nil, uint32(key))
	value = binary.BigEndian.AppendUint32(value, uint32(n))
	return append(value, strings.Repeat(string(rune('a'+n%26)), 500+key+n%1000)...)
}

// TestConcurrentHistory has one writer for each key, readers for all, and other
// goroutines that clear, evict and compact. A value that a Get reads must be one that
// was put for that key, and whole. It must not be older than the value that was
// current, or dropped, when the Get began.
func TestConcurrentHistory(t *testing.T) {
	const keys, rounds = 8, 2000
	c := newCache(t, Config{Entries: 40, Bytes: 64 << 10})
	var oldest [keys]atomic.Int64 // the oldest version that a Get may return from now on
	var writers, others sync.WaitGroup
	done := make(chan struct{})
	scope := func(key int) string { return fmt.Sprintf("org:a/team:t%d", key%3) }

	for key := range keys {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(key)))
			id := fmt.Sprint("id", key)
			for n := 1; n <= rounds; n++ {
				if !c.Put(scope(key), id, version(key, n), uint8(n)) {
					t.Error("Put was refused")
					return
				}
				oldest[key].Store(int64(n))
				switch random.IntN(9) {
				case 0:
					c.Drop(scope(key), id)
					oldest[key].Store(int64(n + 1))
				case 1:
					c.DropSubtree(scope(key))
					oldest[key].Store(int64(n + 1))
				case 2:
					c.DropScopes(func(of string) bool { return of == scope(key) })
					oldest[key].Store(int64(n + 1))
				case 3:
					if random.IntN(10) == 0 {
						c.Clear()
						oldest[key].Store(int64(n + 1))
					}
				}
			}
		})
	}
	loop := func(step func(random *rand.Rand)) {
		random := rand.New(rand.NewPCG(2, rand.Uint64()))
		others.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					step(random)
				}
			}
		})
	}
	var hits atomic.Int64
	for range 4 {
		dst := make([]byte, 0, 4096)
		loop(func(random *rand.Rand) {
			key := random.IntN(keys)
			from := oldest[key].Load()
			ask := c.Get
			if random.IntN(2) == 0 {
				ask = c.Probe
			}
			// Half of the versions have the flag Absent.
			value, flags, ok := ask(dst, []byte(scope(key)), fmt.Append(nil, "id", key))
			if !ok {
				return
			}
			hits.Add(1)
			n := int(binary.BigEndian.Uint32(value[4:]))
			if string(value) != string(version(key, n)) || flags != uint8(n) {
				t.Errorf("key %d: a value that was not put: %.20q", key, value)
			}
			if int64(n) < from {
				t.Errorf("key %d: version %d, when %d was the oldest possible", key, n, from)
			}
		})
	}
	loop(func(random *rand.Rand) { // evicts
		c.Put("org:b", fmt.Sprint(random.IntN(100)), make([]byte, random.IntN(8<<10)), 0)
	})
	loop(func(*rand.Rand) {
		if s := c.Stats(); s.Entries > s.Capacity || s.Negative > s.Capacity/4 || s.Bytes > s.BytesCapacity || s.Entries < 0 || s.Bytes < 0 {
			t.Errorf("out of bounds: %+v", s)
		}
	})
	writers.Wait()
	close(done)
	others.Wait()
	checkSegments(t, c)

	s := c.Stats()
	if hits.Load() == 0 || s.Hits != uint64(hits.Load()) || s.Evictions == 0 {
		t.Errorf("%d hits, %+v", hits.Load(), s)
	}
	c.Clear()
	if x := &c.index; len(x.byName)+x.uses.n+x.ages[positive].n+x.ages[negative].n != 0 || x.bytes != 0 || len(c.segments.all) != 0 || c.segments.capacity != 0 || c.segments.live != 0 {
		t.Errorf("after Clear something is left")
	}
	t.Logf("%+v", s)
}

// TestNoFalseMisses reads entries that nobody drops, while they move from segment to
// segment.
func TestNoFalseMisses(t *testing.T) {
	const keys = 100
	c := newCache(t, Config{Entries: 200, Bytes: 300 << 10})
	for key := range keys {
		mustPut(t, c, "org:a", fmt.Sprint(key), string(version(key, 1)))
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			dst := make([]byte, 0, 4096)
			for key := 0; ; key = (key + 1) % keys {
				select {
				case <-done:
					return
				default:
				}
				value, _, ok := c.Get(dst, []byte("org:a"), fmt.Append(nil, key))
				if !ok || string(value) != string(version(key, 1)) {
					t.Errorf("key %d: %.20q, %v", key, value, ok)
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 8000 {
		key := random.IntN(keys) // put again as it is, so that others in its segment move
		c.Put("org:a", fmt.Sprint(key), version(key, 1), 0)
	}
	close(done)
	readers.Wait()
	if s := c.Stats(); s.Misses != 0 || s.Evictions != 0 || s.Rewrites < 4*keys {
		t.Errorf("%+v", s)
	}
}

// TestGetAgainstMove asks for an entry that moves to another segment, and whose
// segment is given up, after Get finds it in the index and before Get reads the
// bytes.
func TestGetAgainstMove(t *testing.T) {
	c := newCache(t, Config{})
	mustPut(t, c, "org:a", "id", "value")
	s := &scratch{name: appendName(nil, []byte("org:a"), []byte("id"))}
	e, at, _ := c.lookup(0, s)
	if e == nil {
		t.Fatal("not found")
	}
	c.writing.Lock()
	next, err := newSegment(minSegment)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.segments.begin(next)
	c.mu.Unlock()
	c.writing.Unlock()
	c.move(e, at.segment)
	if len(c.segments.all) != 1 || c.segments.all[0] != next {
		t.Fatal("the segment was not given up: this test shows nothing")
	}
	sealed, ok := at.segment.get(at.key)
	if value, err := s.secret.open(nil, sealed, s.name); !ok || err != nil || string(value) != "value" {
		t.Errorf("Get finds %q at the old place, %v", value, err)
	}
	wantHit(t, c, "org:a", "id", "value")
	if s := c.Stats(); s.Hits != 2 || s.Misses != 0 || s.Rewrites != 1 {
		t.Errorf("%+v", s)
	}
}

// TestCloseWhileInUse closes under load: afterwards the cache holds nothing.
func TestCloseWhileInUse(t *testing.T) {
	for range 50 {
		c := newCache(t, Config{})
		var users sync.WaitGroup
		for user := range 4 {
			users.Go(func() {
				for n := range 50 {
					id := fmt.Sprint(n % 5)
					stored := c.Put("org:a", id, version(n, user), 0)
					if value, _, ok := c.Get(nil, []byte("org:a"), []byte(id)); ok && len(value) < 500 {
						t.Errorf("a value of %d bytes", len(value))
					}
					if n == 25 && user == 0 {
						c.Close()
					}
					if n > 25 && user == 0 && stored {
						t.Error("Put after Close reports true")
					}
				}
			})
		}
		users.Wait()
		if s := c.Stats(); s.Entries != 0 || s.Bytes != 0 {
			t.Fatalf("after Close: %+v", s)
		}
	}
}
