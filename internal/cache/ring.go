package cache

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/allegro/bigcache/v3"
)

// frameOverhead is what the ring stores of an entry beside its value: the tag
// of the seal, bigcache's header of 18 bytes, the key, and the block length
// that precedes it all, 5 bytes at most.
const frameOverhead = sealOverhead + 18 + ringKeyLen + 5

// ringKeyLen is the length of a ring key: a number that is used once. It says
// nothing about the name.
const ringKeyLen = 8

// initialRingBytes is what an empty ring takes. It doubles on demand.
const initialRingBytes = 64 << 10

// ring is bigcache with its oldest-first eviction turned into a compaction:
// what it displaces while it is still wanted is written again.
//
// Methods get, remove may be called at any time, the others under the lock that
// serialises writes.
type ring struct {
	cache     *bigcache.BigCache
	lastKey   uint64
	displaced []frame // by the Set that is under way
}

type frame struct {
	key    string
	sealed []byte
}

func newRing(config Config) (*ring, error) {
	r := new(ring)
	cache, err := bigcache.New(context.Background(), bigcache.Config{
		// One shard: with more, all the large values may meet in one of them,
		// and what bounds the work of set no longer holds.
		Shards:           1,
		HardMaxCacheSize: ringMiB(config),
		Hasher:           keyNumber{},
		// Only the product of these two counts: the size to begin with.
		MaxEntriesInWindow: 64,
		MaxEntrySize:       initialRingBytes / 64,
		// The index decides what has expired. Without a CleanWindow, LifeWindow
		// only means that a Set first drops the oldest entry if it is that old,
		// which keeps the ring from growing to its bound around a few live
		// entries. Beyond the longest TTL, and a second for each of two roundings,
		// it cannot be live unless the wall clock was set; then it is written
		// again. A negative entry that died sooner only stays that much longer.
		LifeWindow:  max(config.TTL, config.NegativeTTL) + 2*time.Second,
		CleanWindow: 0,
		// It is called under the lock of the shard, so it only takes note.
		OnRemoveWithReason: func(key string, sealed []byte, _ bigcache.RemoveReason) {
			r.displaced = append(r.displaced, frame{key, sealed})
		},
		Logger: log.New(io.Discard, "", 0), // the default would print keys
	}.OnRemoveFilterSet(bigcache.NoSpace, bigcache.Expired))
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	r.cache = cache
	return r, nil
}

// ringMiB is the most that the ring may grow to: twice what can be live, so
// that a turn of the ring passes at least as many dead bytes as live ones, and
// once the largest value, since the ring ceases to grow when less than what it
// is to hold next is left.
func ringMiB(config Config) int {
	live := config.Bytes + int64(config.Entries)*frameOverhead
	largest := int64(config.maxValueLen()) + frameOverhead
	const mib = 1 << 20
	return int((2*live + largest + mib - 1) / mib)
}

// nextKey returns a key that was not used before.
func (r *ring) nextKey() string {
	r.lastKey++ // the first is 1: to bigcache the hash 0 means deleted
	return string(binary.LittleEndian.AppendUint64(nil, r.lastKey))
}

// keyNumber is the bigcache.Hasher of ring keys: no two collide.
type keyNumber struct{}

func (keyNumber) Sum64(key string) uint64 {
	return binary.LittleEndian.Uint64([]byte(key))
}

// get returns a copy of what was set, the one allocation of its size that a hit
// costs: bigcache hands out nothing else.
func (r *ring) get(key string) ([]byte, bool) {
	sealed, err := r.cache.Get(key)
	return sealed, err == nil
}

// set writes sealed under key, and writes again whatever that displaced and
// wanted still asks for, which may displace more. That ends: at most half of
// the ring is wanted, so by the time all it held was displaced once, all that
// was written again stands together, and the other half is free. It fails only
// for what is larger than the ring.
//
// One run may write again all that is live, once in a turn of the ring. Other
// writes wait for it; a Get only when what it asks for is displaced just then.
func (r *ring) set(key string, sealed []byte, wanted func(key string) bool) bool {
	ok := r.cache.Set(key, sealed) == nil
	for len(r.displaced) > 0 {
		last := len(r.displaced) - 1
		d := r.displaced[last]
		r.displaced[last] = frame{}
		r.displaced = r.displaced[:last]
		if wanted(d.key) {
			r.cache.Set(d.key, d.sealed)
		}
	}
	return ok
}

// remove lets go of a key. Its bytes stay until the ring comes round, but are
// no longer reported as displaced.
func (r *ring) remove(key string) {
	// The error says that there is no such key: it was displaced, or is not
	// written yet, and then set asks whether it is wanted.
	_ = r.cache.Delete(key)
}

func (r *ring) clear() {
	_ = r.cache.Reset() // always nil
}

// close is called once: bigcache panics when it is closed twice.
func (r *ring) close() error { return r.cache.Close() }
