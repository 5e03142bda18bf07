package cache

import (
	"container/list"
	"encoding/binary"
	"math"
	"strings"
	"time"
)

// entry is what the index knows of one value. The value itself is in the ring,
// sealed under secret.
type entry struct {
	name    string // see appendName; it is also what the seal is bound to
	scope   string // the part of name
	ringKey string
	size    int64 // bytes of the value
	flags   uint8
	secret  secret
	born    time.Duration // when Put admitted it
	used    time.Duration // the last Put or Get
	inUses  *list.Element
	inAges  *list.Element
}

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
func newEntry(name []byte, scopeLen, size int, flags uint8) *entry {
	e := &entry{name: string(name), size: int64(size), flags: flags}
	e.secret.draw()
	_, prefix := binary.Uvarint(name)
	e.scope = e.name[prefix : prefix+scopeLen]
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
	config    Config
	byName    map[string]*entry
	byRingKey map[string]*entry
	uses      list.List        // of *entry, the most recently used first
	ages      [kinds]list.List // of *entry, the oldest first; TTL is one for all of a kind
	ttls      [kinds]time.Duration
	bytes     int64
	stats     Stats // the counters; snapshot adds the fill
	// removed is told the ring key of every entry that leaves on its own.
	removed func(ringKey string)
}

func newIndex(config Config, removed func(ringKey string)) index {
	return index{
		config:    config,
		byName:    make(map[string]*entry),
		byRingKey: make(map[string]*entry),
		ttls:      [kinds]time.Duration{positive: config.TTL, negative: config.NegativeTTL},
		removed:   removed,
	}
}

// use returns the live entry of name, now the most recently used, or nil when
// there is none or it has a flag of but.
func (x *index) use(name []byte, but uint8, now time.Duration) *entry {
	e := x.byName[string(name)]
	if e != nil && x.expired(e, now) {
		x.expire(e)
		e = nil
	}
	if e == nil || e.flags&but != 0 {
		x.stats.Misses++
		return nil
	}
	x.stats.Hits++
	e.used = now
	x.uses.MoveToFront(e.inUses)
	return e
}

// admit makes room for e and holds it in place of what has its name.
func (x *index) admit(e *entry, now time.Duration) {
	x.drop(e.name)
	// A negative entry gives way to one of its own kind, the oldest, since that
	// has the least left to live; being asked for often earns it no more.
	for e.kind() == negative && x.ages[negative].Len() >= x.config.maxNegative() {
		if !x.dropExpired(now) {
			x.evict(x.ages[negative].Front())
		}
	}
	for len(x.byName) >= x.config.Entries || x.bytes+e.size > x.config.Bytes {
		if !x.dropExpired(now) { // an expired entry goes before a live one
			x.evict(x.uses.Back())
		}
	}
	e.born, e.used = now, now
	e.inUses, e.inAges = x.uses.PushFront(e), x.ages[e.kind()].PushBack(e)
	x.byName[e.name], x.byRingKey[e.ringKey] = e, e
	x.bytes += e.size
}

func (x *index) expired(e *entry, now time.Duration) bool {
	return now-e.born >= x.ttls[e.kind()] || x.config.Idle > 0 && now-e.used >= x.config.Idle
}

func (x *index) evict(at *list.Element) {
	x.stats.Evictions++
	x.remove(at.Value.(*entry))
}

// dropExpired removes one expired entry and reports whether there was one. The
// first of a kind to pass its TTL is the oldest, the first to be idle too long
// is the least recently used: no other needs a look.
func (x *index) dropExpired(now time.Duration) bool {
	for _, first := range []*list.Element{x.ages[positive].Front(), x.ages[negative].Front(), x.uses.Back()} {
		if first == nil {
			continue // none of this kind
		}
		if e := first.Value.(*entry); x.expired(e, now) {
			x.expire(e)
			return true
		}
	}
	return false
}

// untilExpiry is how long from now the first entry expires if none is used.
func (x *index) untilExpiry(now time.Duration) time.Duration {
	wait := time.Duration(math.MaxInt64)
	for kind := range x.ages {
		if oldest := x.ages[kind].Front(); oldest != nil {
			wait = min(wait, x.ttls[kind]-(now-oldest.Value.(*entry).born))
		}
	}
	if idlest := x.uses.Back(); idlest != nil && x.config.Idle > 0 {
		wait = min(wait, x.config.Idle-(now-idlest.Value.(*entry).used))
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

func (x *index) dropRingKey(key string) {
	if e := x.byRingKey[key]; e != nil {
		x.remove(e)
	}
}

// subtree returns the ring keys of the entries of scope and below.
func (x *index) subtree(scope string) (ringKeys []string) {
	for key, e := range x.byRingKey {
		if below, ok := strings.CutPrefix(e.scope, scope); ok && (below == "" || below[0] == '/') {
			ringKeys = append(ringKeys, key)
		}
	}
	return ringKeys
}

// remove ends an entry. Every way out of the index but clear leads here.
func (x *index) remove(e *entry) {
	e.secret.wipe()
	delete(x.byName, e.name)
	delete(x.byRingKey, e.ringKey)
	x.uses.Remove(e.inUses)
	x.ages[e.kind()].Remove(e.inAges)
	x.bytes -= e.size
	x.removed(e.ringKey)
}

// clear ends every entry without a word to removed. Its maps start anew, since
// a map that shrinks keeps its memory.
func (x *index) clear() {
	for _, e := range x.byName {
		e.secret.wipe()
	}
	stats := x.stats
	*x = newIndex(x.config, x.removed)
	x.stats = stats
}

func (x *index) snapshot() Stats {
	s := x.stats
	s.Entries, s.Negative, s.Capacity = len(x.byName), x.ages[negative].Len(), x.config.Entries
	s.Bytes, s.BytesCapacity = x.bytes, x.config.Bytes
	return s
}
