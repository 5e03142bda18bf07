package cache

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
)

// entry is what the index knows of one value. The value itself is in a segment,
// sealed under secret. There may be 100,000 entries, so each field counts.
type entry struct {
	name     string // see appendName; the seal is bound to it
	place    place
	born     time.Duration // when Put admitted it
	used     time.Duration // the last Put or Get
	links    [orders]link
	size     uint32 // bytes of the value
	scopeLen uint32
	scopeAt  uint8 // where the scope begins in name
	flags    uint8
	secret   *secret // in the vault; nil once the entry has left
}

// frame is how many bytes of a segment the entry takes.
func (e *entry) frame() int64 { return int64(e.size) + frameOverhead }

func (e *entry) scope() string { return e.name[e.scopeAt:][:e.scopeLen] }

// The kinds of entries; each has a TTL of its own.
const (
	positive = iota
	negative
	kinds
)

func (e *entry) kind() int {
	if e.flags&Absent != 0 {
		return negative
	}
	return positive
}

// newEntry makes an entry with a fresh secret, not yet part of an index.
func newEntry(v *vault, name []byte, scopeLen, size int, flags uint8) *entry {
	_, prefix := binary.Uvarint(name)
	e := &entry{name: string(name), size: uint32(size), scopeLen: uint32(scopeLen), scopeAt: uint8(prefix), flags: flags, secret: v.take()}
	e.secret.draw()
	return e
}

// appendName appends scope and id as one name. The length in front keeps any
// two pairs apart, whatever their bytes.
func appendName[T string | []byte](dst []byte, scope, id T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(scope)))
	dst = append(dst, scope...)
	return append(dst, id...)
}

// index decides what is held: by exact name, within both bounds, until expiry.
// Its caller provides the lock and the time.
type index struct {
	config Config
	vault  *vault
	byName map[string]*entry
	uses   chain        // the most recently used first
	ages   [kinds]chain // the oldest first: all of a kind have the same TTL
	ttls   [kinds]time.Duration
	bytes  int64
	fills  map[string]*Fill // of each scope with entries in it or below it
	stats  Stats            // the counters; snapshot adds the fill
	// left is called for every entry that leaves, except by clear.
	left func(*entry)
}

func newIndex(config Config, v *vault, left func(*entry)) index {
	x := index{
		config: config,
		vault:  v,
		byName: make(map[string]*entry),
		fills:  make(map[string]*Fill),
		uses:   chain{order: byUse},
		ttls:   [kinds]time.Duration{positive: config.TTL, negative: config.NegativeTTL},
		left:   left,
	}
	for kind := range x.ages {
		x.ages[kind].order = byAge
	}
	return x
}

// use returns the live entry of name, which becomes the most recently used. It returns
// nil if there is none, or if the entry has flags of but, which are then in passed.
func (x *index) use(name []byte, but uint8, now time.Duration) (used *entry, passed uint8) {
	e := x.byName[string(name)]
	if e != nil && x.expired(e, now) {
		x.expire(e)
		e = nil
	}
	if e == nil || e.flags&but != 0 {
		x.stats.Misses++
		if e != nil {
			passed = e.flags & but
		}
		return nil, passed
	}
	x.stats.Hits++
	e.used = now
	x.uses.moveToFront(e)
	return e, 0
}

// admit makes room for e and replaces the entry of that name.
func (x *index) admit(e *entry, now time.Duration) {
	x.drop(e.name)
	// A negative entry replaces the oldest of its own kind, which has the least
	// left to live. Frequent use does not keep a negative entry.
	for e.kind() == negative && x.ages[negative].n >= x.config.maxNegative() {
		if !x.dropExpired(now) {
			x.evict(x.ages[negative].first)
		}
	}
	for len(x.byName) >= x.config.Entries || x.bytes+int64(e.size) > x.config.Bytes {
		if !x.dropExpired(now) { // an expired entry goes before a live one
			x.evict(x.uses.last)
		}
	}
	e.born, e.used = now, now
	x.uses.pushFront(e)
	x.ages[e.kind()].pushBack(e)
	x.byName[e.name] = e
	x.bytes += int64(e.size)
	x.fill(e, 1)
}

// fill adds an entry to the counts of its scope and of those above it, or subtracts it if
// by is -1.
func (x *index) fill(e *entry, by int) {
	for scope := e.scope(); scope != ""; scope = scope[:max(strings.LastIndexByte(scope, '/'), 0)] {
		f := x.fills[scope]
		if f == nil {
			f = new(Fill)
			x.fills[strings.Clone(scope)] = f // so that the map does not keep the entry's name
		}
		f.Entries += by
		f.Bytes += int64(by) * int64(e.size)
		if e.kind() == negative {
			f.Negative += by
		}
		if f.Entries == 0 {
			delete(x.fills, scope)
		}
	}
}

func (x *index) expired(e *entry, now time.Duration) bool {
	return now-e.born >= x.ttls[e.kind()] || x.config.Idle > 0 && now-e.used >= x.config.Idle
}

func (x *index) evict(e *entry) {
	x.stats.Evictions++
	x.remove(e)
}

// dropExpired removes one expired entry and reports whether there was one. The
// first of a kind to pass its TTL is the oldest, and the first to be idle too long
// is the least recently used: no other entry needs a look.
func (x *index) dropExpired(now time.Duration) bool {
	for _, first := range [...]*entry{x.ages[positive].first, x.ages[negative].first, x.uses.last} {
		if first != nil && x.expired(first, now) {
			x.expire(first)
			return true
		}
	}
	return false
}

// untilExpiry is how long from now the first entry expires if none is used.
func (x *index) untilExpiry(now time.Duration) time.Duration {
	wait := time.Duration(math.MaxInt64)
	for kind := range x.ages {
		if oldest := x.ages[kind].first; oldest != nil {
			wait = min(wait, x.ttls[kind]-(now-oldest.born))
		}
	}
	if idlest := x.uses.last; idlest != nil && x.config.Idle > 0 {
		wait = min(wait, x.config.Idle-(now-idlest.used))
	}
	return wait
}

func (x *index) expire(e *entry) {
	x.stats.Expired++
	x.remove(e)
}

func (x *index) drop(name string) {
	if e := x.byName[name]; e != nil {
		x.remove(e)
	}
}

// holds reports whether e is still part of the index.
func (x *index) holds(e *entry) bool { return x.byName[e.name] == e }

// subtree returns the entries of scope and below.
func (x *index) subtree(scope string) (entries []*entry) {
	for _, e := range x.byName {
		if below, ok := strings.CutPrefix(e.scope(), scope); ok && (below == "" || below[0] == '/') {
			entries = append(entries, e)
		}
	}
	return entries
}

// remove removes an entry. Every way out of the index but clear leads here.
func (x *index) remove(e *entry) {
	x.vault.giveBack(e)
	delete(x.byName, e.name)
	x.uses.remove(e)
	x.ages[e.kind()].remove(e)
	x.bytes -= int64(e.size)
	x.fill(e, -1)
	x.left(e)
}

// clear removes every entry without calling left. It makes a new map, since a map
// that shrinks keeps its memory.
func (x *index) clear() {
	for _, e := range x.byName {
		x.vault.giveBack(e)
	}
	stats := x.stats
	*x = newIndex(x.config, x.vault, x.left)
	x.stats = stats
}

func (x *index) snapshot() Stats {
	s := x.stats
	s.Entries, s.Negative, s.Capacity = len(x.byName), x.ages[negative].n, x.config.Entries
	s.Bytes, s.BytesCapacity = x.bytes, x.config.Bytes
	return s
}
