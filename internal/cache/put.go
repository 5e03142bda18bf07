package cache

import (
	"time"
)

// Put holds value, with flags, for scope and id, and replaces what was held
// before. It reports false, and holds nothing for that name, if value has more than
// MaxValueLen bytes or more than Config.Bytes, or after Close. The Cache keeps no
// reference to value, and sealing leaves no copy of it. All flags but Absent belong
// to the caller.
func (c *Cache) Put(scope, id string, value []byte, flags uint8) (stored bool) {
	sealed := c.Seal(scope, id, value, flags)
	defer sealed.Release()
	return sealed.Hold()
}

// Sealed is a value ready for Hold. Only one goroutine may use it.
type Sealed struct {
	cache *Cache
	entry *entry
	bytes []byte // nil: the value is too long
	held  bool
}

// Seal does the slow part of Put, for a caller that decides under a lock whether to hold
// the value. The caller then calls Hold under its lock, and Release after it.
func (c *Cache) Seal(scope, id string, value []byte, flags uint8) *Sealed {
	name := appendName(nil, scope, id)
	s := &Sealed{cache: c, entry: newEntry(c.vault, name, len(scope), len(value), flags)}
	if len(value) <= c.maxValue {
		s.bytes = s.entry.secret.seal(value, name)
	}
	return s
}

// Hold puts the value into the cache. Its lifetime begins now. Call it once; it reports
// what Put reports.
func (s *Sealed) Hold() (stored bool) {
	s.held = s.hold()
	return s.held
}

func (s *Sealed) hold() bool {
	c := s.cache
	if s.bytes == nil {
		c.refuse(s.entry.name)
		return false
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	at, err := c.write(s.bytes)
	if err != nil {
		c.refuse(s.entry.name)
		return false
	}
	return c.admit(s.entry, at)
}

// Release wipes the secret of a value that was not held. After Hold it compacts segments.
func (s *Sealed) Release() {
	if s.held {
		s.cache.compact()
		return
	}
	s.cache.vault.giveBack(s.entry)
}

// write puts sealed bytes into the current segment, or a new one.
func (c *Cache) write(sealed []byte) (at place, err error) {
	s := &c.segments
	if frame := frameLen(len(sealed)); s.current == nil || s.current.left < frame {
		c.mu.Lock()
		size := s.nextSize(frame)
		c.mu.Unlock()
		next, err := newSegment(size)
		if err != nil {
			return place{}, err
		}
		c.mu.Lock()
		s.begin(next)
		c.mu.Unlock()
	}
	at = place{s.current, s.nextKey()}
	return at, at.segment.set(at.key, sealed)
}

// compact moves the live entries out of segments that are mostly dead, until no
// more than a fifth of all bytes is dead. Emptying a segment frees more than it costs, and
// none is looked at twice. Only one call compacts at a time, and a writer waits
// for at most one entry.
func (c *Cache) compact() {
	if !c.compacting.TryLock() {
		return
	}
	defer c.compacting.Unlock()
	var entries []*entry
	for rounds := 0; ; rounds++ {
		c.mu.Lock()
		from := c.segments.sparsest()
		if from == nil || rounds > len(c.segments.all) {
			c.mu.Unlock()
			return
		}
		entries = from.entries.appendTo(entries[:0])
		c.mu.Unlock()
		for _, e := range entries {
			c.move(e, from)
		}
	}
}

// move writes the bytes of an entry to another segment, if it is still in from.
func (c *Cache) move(e *entry, from *segment) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.isIn(e, from) {
		return
	}
	sealed, ok := from.get(e.place.key) // guarded by writing
	var to place
	if ok {
		var err error
		to, err = c.write(sealed)
		ok = err == nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.isInLocked(e, from): // the entry left meanwhile
	case !ok:
		c.index.remove(e)
	default:
		c.index.stats.Rewrites++
		c.segments.leave(e)
		c.segments.enter(e, to)
	}
}

// isIn reports whether an entry is held, and in the segment at.
func (c *Cache) isIn(e *entry, at *segment) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isInLocked(e, at)
}

func (c *Cache) isInLocked(e *entry, at *segment) bool {
	return e.place.segment == at && c.index.holds(e) // Clear does not reset the place
}

// refuse drops what is held under name, since it is older than what was refused.
func (c *Cache) refuse(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.stats.Refused++
	c.index.drop(name)
}

// admit adds e to the index and makes sure that a sweep is due.
func (c *Cache) admit(e *entry, at place) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.vault.giveBack(e)
		return false
	}
	now := c.now()
	c.index.admit(e, now)
	c.segments.enter(e, at)
	// The new entry may expire before the time for which the sweep waits.
	wait := c.untilSweepLocked(now)
	switch {
	case c.sweeper == nil:
		c.sweeper = time.AfterFunc(wait, c.sweep)
		c.sweepAt = now + wait
	case now+wait < c.sweepAt:
		c.sweeper.Reset(wait)
		c.sweepAt = now + wait
	}
	return true
}
