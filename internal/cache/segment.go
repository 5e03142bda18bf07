package cache

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math"
	"time"

	"github.com/allegro/bigcache/v3"
)

// frameOverhead is what a segment stores for an entry besides its value: the tag
// of the seal, bigcache's header of 18 bytes, the key, and the block length
// in front of it all, 5 bytes at most.
const frameOverhead = sealOverhead + 18 + keyLen + 5

// keyLen is the length of a key: a number that is used once and says nothing about
// the name.
const keyLen = 8

// Sizes of segments. A segment is an eighth of the live bytes, within these bounds,
// and at least eight times the first frame written to it, so that little room is
// left over at its end.
const (
	minSegment   = 64 << 10
	maxSegment   = 4 << 20
	segmentParts = 8
)

// segment is a bigcache that is written to once, from its beginning to its end,
// and then only read until it is given up as a whole. It never evicts anything,
// and its array never grows: bigcache would copy it to double it.
type segment struct {
	cache    *bigcache.BigCache
	capacity int64
	left     int64 // bytes that are not written yet; guarded by Cache.writing

	// Guarded by Cache.mu.
	entries chain
	live    int64 // bytes of frames of entries
	full    bool  // nothing is written to it any more
}

// place is where the bytes of an entry are.
type place struct {
	segment *segment
	key     string
}

func newSegment(capacity int64) (*segment, error) {
	const entries = 1024 // for which its map has room from the start
	size := int(capacity+entries-1) / entries
	cache, err := bigcache.New(context.Background(), bigcache.Config{
		Shards: 1,
		Hasher: keyNumber{},
		// Only the product of these two counts: the size of the array.
		MaxEntriesInWindow: entries,
		MaxEntrySize:       size,
		// The index decides what has expired.
		LifeWindow:  math.MaxInt64 / 2 * time.Nanosecond,
		CleanWindow: 0,
		Logger:      log.New(io.Discard, "", 0), // the default would print keys
	})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	capacity = int64(size * entries)
	return &segment{cache: cache, capacity: capacity, left: capacity - 1, entries: chain{order: bySegment}}, nil
}

// frameLen is how many bytes of a segment a sealed value takes, at most.
func frameLen(sealed int) int64 { return int64(sealed) - sealOverhead + frameOverhead }

// keyNumber is the bigcache.Hasher of keys: no two collide.
type keyNumber struct{}

func (keyNumber) Sum64(key string) uint64 {
	return binary.LittleEndian.Uint64([]byte(key))
}

// set writes sealed, which must fit.
func (s *segment) set(key string, sealed []byte) error {
	s.left -= frameLen(len(sealed))
	return s.cache.Set(key, sealed)
}

// get returns a copy of what was set: the only allocation of that size in a hit,
// and bigcache offers no way without it. get may be called at any time, also after
// the segment was given up.
func (s *segment) get(key string) ([]byte, bool) {
	sealed, err := s.cache.Get(key)
	return sealed, err == nil
}

// segments hold the sealed values. The bytes of an entry that left the index stay,
// as noise, until their segment is given up. A segment is given up once nothing in it
// is live, or once its live entries were moved to another segment. Whenever more than
// a fifth of all bytes is dead, the segment with the fewest live bytes is emptied so.
type segments struct {
	// Guarded by Cache.writing.
	current *segment // nil before the first write
	lastKey uint64

	// Guarded by Cache.mu.
	all      []*segment
	capacity int64
	live     int64 // bytes of frames of the index's entries
}

// nextKey returns a key that was not used before.
func (s *segments) nextKey() string {
	s.lastKey++ // the first is 1: to bigcache the hash 0 means deleted
	return string(binary.LittleEndian.AppendUint64(nil, s.lastKey))
}

// nextSize is the capacity of a segment that begins with a frame of that length.
func (s *segments) nextSize(frame int64) int64 {
	return max(min(max(s.live/segmentParts, minSegment), maxSegment), segmentParts*frame)
}

// begin makes next the current segment.
func (s *segments) begin(next *segment) {
	if last := s.current; last != nil {
		last.full = true
		s.giveUpIfDead(last)
	}
	s.current = next
	s.all = append(s.all, next)
	s.capacity += next.capacity
}

func (s *segments) enter(e *entry, at place) {
	e.place = at
	at.segment.entries.pushBack(e)
	at.segment.live += e.frame()
	s.live += e.frame()
}

func (s *segments) leave(e *entry) {
	at := e.place.segment
	at.entries.remove(e)
	at.live -= e.frame()
	s.live -= e.frame()
	e.place.segment = nil
	s.giveUpIfDead(at)
}

func (s *segments) giveUpIfDead(at *segment) {
	if !at.full || at.entries.n > 0 {
		return
	}
	for i, other := range s.all {
		if other == at {
			last := len(s.all) - 1
			s.all[i], s.all[last] = s.all[last], nil
			s.all = s.all[:last]
			s.capacity -= at.capacity
			return
		}
	}
}

// sparsest is the segment with the smallest live part, which compaction empties. It is
// nil while less than a fifth of all bytes is dead, not counting the room of two segments:
// the current one and the next.
func (s *segments) sparsest() (found *segment) {
	var largest int64
	for _, at := range s.all {
		largest = max(largest, at.capacity)
		if at.full && (found == nil || at.live*found.capacity < found.live*at.capacity) {
			found = at
		}
	}
	if s.capacity <= s.live+s.live/4+2*largest {
		return nil
	}
	return found
}

func (s *segments) clear() {
	*s = segments{lastKey: s.lastKey}
}
