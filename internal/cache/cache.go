package cache

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Limits of a Config, and of what Put accepts.
const (
	DefaultEntries = 1000
	MaxEntries     = 100_000

	DefaultBytes = 64 << 20
	MinBytes     = 1 << 10
	MaxBytes     = 16 << 30 // MaxEntries of the largest reply, 90 KiB, is less

	DefaultTTL  = 5 * time.Minute
	MinLifetime = time.Millisecond // of TTL, NegativeTTL, and Idle when it is set
	MaxLifetime = 365 * 24 * time.Hour

	// DefaultNegativeTTL is short, since an absence is most often looked up by
	// those who wait for it to end.
	DefaultNegativeTTL = 10 * time.Second

	// MaxValueLen is the most bytes one value may have, or Config.Bytes when
	// that is less. It is the largest payload a NATS server carries unless it
	// is configured for more.
	MaxValueLen = 1 << 20
)

// Absent is a flag of Put: the entry says that its name is known not to be
// there. What value it has, if any, is its caller's business. Such an entry is
// called negative; it has limits of its own, see Config.
const Absent uint8 = 1 << 7

// sweepInterval is the least time between two sweeps for expired entries, and
// so the longest that the secret of an expired entry outlives it.
const sweepInterval = time.Second

// removeBatch bounds how many entries leave at once while Get has to wait.
const removeBatch = 1000

// Config bounds a Cache. A zero field takes its default.
type Config struct {
	// Entries is the most entries held at any time: 1 to MaxEntries. At most a
	// quarter of them, or one, are negative.
	Entries int
	// Bytes is the most value bytes held at any time, MinBytes to MaxBytes.
	// Counted is the length of each value as Put was given it; names, seals
	// and framing come on top, as the package comment says.
	Bytes int64
	// TTL is how long after its Put an entry lives, MinLifetime to MaxLifetime.
	// At exactly TTL it is gone.
	TTL time.Duration
	// NegativeTTL is TTL for negative entries, in the same range.
	NegativeTTL time.Duration
	// Idle is how long after its last Put or Get an entry lives, in the range
	// of TTL. Zero means that there is no such limit.
	Idle time.Duration
}

func (c Config) withDefaults() Config {
	if c.Entries == 0 {
		c.Entries = DefaultEntries
	}
	if c.Bytes == 0 {
		c.Bytes = DefaultBytes
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.NegativeTTL == 0 {
		c.NegativeTTL = DefaultNegativeTTL
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.Entries < 1 || c.Entries > MaxEntries:
		return fmt.Errorf("cache: Entries is %d: 1 to %d are allowed", c.Entries, MaxEntries)
	case c.Bytes < MinBytes || c.Bytes > MaxBytes:
		return fmt.Errorf("cache: Bytes is %d: %d to %d are allowed", c.Bytes, MinBytes, int64(MaxBytes))
	case c.TTL < MinLifetime || c.TTL > MaxLifetime:
		return fmt.Errorf("cache: TTL is %v: %v to %v are allowed", c.TTL, MinLifetime, MaxLifetime)
	case c.NegativeTTL < MinLifetime || c.NegativeTTL > MaxLifetime:
		return fmt.Errorf("cache: NegativeTTL is %v: %v to %v are allowed", c.NegativeTTL, MinLifetime, MaxLifetime)
	case c.Idle != 0 && (c.Idle < MinLifetime || c.Idle > MaxLifetime):
		return fmt.Errorf("cache: Idle is %v: 0 (no limit) or %v to %v are allowed", c.Idle, MinLifetime, MaxLifetime)
	}
	return nil
}

func (c Config) maxValueLen() int { return int(min(c.Bytes, MaxValueLen)) }

// maxNegative is the most negative entries. Names that do not exist can be made
// up without end: without this bound, who asks for many of them would push out
// everything that does exist.
func (c Config) maxNegative() int { return max(c.Entries/4, 1) }

// Cache maps a scope and an id to a value. Its methods may be called
// concurrently.
//
// Lock order: compacting, writing, then mu. A Get that hits takes mu for the lookup and the
// segment's read lock for the copy, one after the other, and opens the value
// under neither.
type Cache struct {
	started   time.Time // the monotonic zero of every time in the index
	maxValue  int
	scratches sync.Pool // of *scratch

	compacting sync.Mutex // held during compaction

	// writing is held while segments are written to, and entries change their
	// place.
	writing sync.Mutex

	mu       sync.Mutex
	index    index         // guarded by mu
	segments segments      // see there
	sweeper  *time.Timer   // guarded by mu; nil unless a sweep is due or under way
	sweepAt  time.Duration // guarded by mu; when the sweep is due, past while one is under way
	closed   bool          // guarded by mu
}

// scratch is what a Get needs beside the caller's buffer. It is pooled because
// its parts are passed to an interface, and so would be allocated each time.
type scratch struct {
	name   []byte
	secret secret
}

// New makes an empty Cache. The error names the setting that is out of range,
// and the range.
func New(config Config) (*Cache, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	if !sealAvailable() {
		return nil, errors.New("cache: ChaCha20-Poly1305 is not available: do not run with GODEBUG=fips140=only, or turn the cache off")
	}
	c := &Cache{started: time.Now(), maxValue: config.maxValueLen()}
	c.scratches.New = func() any { return new(scratch) }
	c.index = newIndex(config, c.segments.leave)
	return c, nil
}

// now is the time since the Cache was made, by the monotonic clock.
func (c *Cache) now() time.Duration { return time.Since(c.started) }

// Get appends the value to dst and returns the result with the flags that Put
// was given. When there is no live entry it returns dst as it is, and false.
// It keeps neither scope nor id.
//
// The value is opened straight into dst, which is reallocated at most once. The
// caller owns the result and wipes it; to leave no second copy of what dst held
// before, give it the capacity that the value needs.
func (c *Cache) Get(dst, scope, id []byte) (value []byte, flags uint8, ok bool) {
	return c.getBut(0, dst, scope, id)
}

// Probe is Get for a caller that wants what exists: it passes over a negative entry, and
// returns Absent without ok. That counts as nothing, since only Get returns the entry.
func (c *Cache) Probe(dst, scope, id []byte) (value []byte, flags uint8, ok bool) {
	value, flags, ok = c.getBut(Absent, dst, scope, id)
	if !ok && flags != 0 {
		c.forgive()
	}
	return value, flags, ok
}

// Again is Get for a caller whose Probe has missed, and counts in place of that.
func (c *Cache) Again(dst, scope, id []byte) (value []byte, flags uint8, ok bool) {
	defer c.forgive()
	return c.Get(dst, scope, id)
}

// forgive takes back a miss that was counted.
func (c *Cache) forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.stats.Misses--
}

// getBut is Get that passes over entries with flags of but, which it returns then.
func (c *Cache) getBut(but uint8, dst, scope, id []byte) (value []byte, flags uint8, ok bool) {
	s := c.scratches.Get().(*scratch)
	s.name = appendName(s.name[:0], scope, id)
	value, flags, ok = c.get(but, dst, s)
	s.secret.wipe()
	c.scratches.Put(s)
	return value, flags, ok
}

func (c *Cache) get(but uint8, dst []byte, s *scratch) (value []byte, flags uint8, ok bool) {
	e, at, flags := c.lookup(but, s)
	if e == nil {
		return dst, flags, false
	}
	// The entry may leave or move meanwhile: what is at this place stays.
	sealed, ok := at.segment.get(at.key)
	if ok {
		if value, err := s.secret.open(dst, sealed, s.name); err == nil {
			return value, flags, true
		}
	}
	c.forget(e) // its bytes were damaged
	return dst, 0, false
}

// lookup finds the live entry of s.name, counts the use, and copies its secret
// to s: from then on the entry may leave and be wiped at any time. Without an entry the
// flags are those for which one was passed over.
func (c *Cache) lookup(but uint8, s *scratch) (e *entry, at place, flags uint8) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The clock is read under mu, so that waiting for it cannot extend a life.
	e, passed := c.index.use(s.name, but, c.now())
	if e == nil {
		return nil, place{}, passed
	}
	s.secret = e.secret
	return e, e.place, e.flags
}

// forget drops an entry whose bytes cannot be had, and makes its hit a miss.
func (c *Cache) forget(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.stats.Hits--
	c.index.stats.Misses++
	if c.index.holds(e) {
		c.index.remove(e)
	}
}

// Put holds value, with flags, for scope and id, in place of what was held
// before. It reports false, and holds nothing for that name, when value has
// more than MaxValueLen bytes or more than Config.Bytes, or after Close. The
// value is not kept, and sealing leaves no copy of it. Flags are the caller's
// own, but for Absent.
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
	s := &Sealed{cache: c, entry: newEntry(name, len(scope), len(value), flags)}
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
	s.entry.secret.wipe()
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

// compact writes again what is live in the segments that are mostly dead, until
// no more than a fifth of all is. Each gives up more than it costs, and none is
// looked at twice. Only one call compacts at a time, and a writer waits for at
// most one entry.
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

// move writes the bytes of an entry again elsewhere, if it is there still.
func (c *Cache) move(e *entry, from *segment) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.isIn(e, from) {
		return
	}
	sealed, ok := from.get(e.place.key) // only who holds writing changes it
	var to place
	if ok {
		var err error
		to, err = c.write(sealed)
		ok = err == nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.isInLocked(e, from): // it left meanwhile
	case !ok:
		c.index.remove(e)
	default:
		c.index.stats.Rewrites++
		c.segments.leave(e)
		c.segments.enter(e, to)
	}
}

// isIn reports whether an entry is held, and in that segment.
func (c *Cache) isIn(e *entry, at *segment) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isInLocked(e, at)
}

func (c *Cache) isInLocked(e *entry, at *segment) bool {
	return e.place.segment == at && c.index.holds(e) // Clear leaves the place as it was
}

// refuse drops what is held under name: it is older than what was refused.
func (c *Cache) refuse(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.stats.Refused++
	c.index.drop(name)
}

// admit makes e part of the index and sees to it that a sweep is due.
func (c *Cache) admit(e *entry, at place) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		e.secret.wipe()
		return false
	}
	now := c.now()
	c.index.admit(e, now)
	c.segments.enter(e, at)
	// What is admitted may expire before what the sweep was to wait for.
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

func (c *Cache) untilSweepLocked(now time.Duration) time.Duration {
	return max(c.index.untilExpiry(now), sweepInterval)
}

// sweep removes expired entries that nobody asked for, so that their secrets
// are gone within sweepInterval even when the Cache is not used.
func (c *Cache) sweep() {
	for c.sweepSome() {
	}
}

func (c *Cache) sweepSome() (more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for range removeBatch {
		if !c.index.dropExpired(now) {
			c.scheduleSweepLocked(now)
			return false
		}
	}
	return true
}

func (c *Cache) scheduleSweepLocked(now time.Duration) {
	if len(c.index.byName) == 0 {
		c.sweeper = nil
		return
	}
	wait := c.untilSweepLocked(now)
	c.sweeper.Reset(wait)
	c.sweepAt = now + wait
}

// Drop removes one entry. No Get that begins after Drop has returned sees the
// value that was held before.
func (c *Cache) Drop(scope, id string) {
	name := appendName(nil, scope, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.drop(string(name))
}

// DropSubtree removes the entries of scope and of all scopes below it: "a:b"
// covers "a:b" and "a:b/c:d", not "a:bc"; the empty scope covers everything. No
// Get that begins after DropSubtree has returned sees a value that was held
// before it began. Get waits while every entry is looked at, and then while
// they leave, removeBatch at a time.
func (c *Cache) DropSubtree(scope string) {
	if scope == "" {
		c.Clear()
		return
	}
	for batch := range slices.Chunk(c.subtree(scope), removeBatch) {
		c.removeAll(batch)
	}
}

// DropScopes removes the entries of every scope for which drop returns true; a scope
// below it is asked for on its own. The promise is that of DropSubtree. It looks at every
// entry, and calls drop for each under no lock: Get waits while they are collected, and
// then while some leave, removeBatch at a time.
func (c *Cache) DropScopes(drop func(scope string) bool) {
	entries := slices.DeleteFunc(c.entries(), func(e *entry) bool { return !drop(e.scope()) })
	for batch := range slices.Chunk(entries, removeBatch) {
		c.removeAll(batch)
	}
}

// entries are all that are held at this moment.
func (c *Cache) entries() []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.AppendSeq(make([]*entry, 0, len(c.index.byName)), maps.Values(c.index.byName))
}

// subtree returns entries, not names, so that what is put meanwhile stays.
func (c *Cache) subtree(scope string) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.subtree(scope)
}

func (c *Cache) removeAll(entries []*entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		if c.index.holds(e) {
			c.index.remove(e)
		}
	}
}

// Clear removes every entry.
func (c *Cache) Clear() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clearLocked()
}

func (c *Cache) clearLocked() {
	c.index.clear()
	c.segments.clear()
}

// Stats reports the counters and the fill of this moment.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.snapshot()
}

// Fill reports what is held of scope and of all scopes below it; the empty scope is
// everything. It takes the same time however much that is.
func (c *Cache) Fill(scope string) Fill {
	c.mu.Lock()
	defer c.mu.Unlock()
	if scope == "" {
		s := c.index.snapshot()
		return Fill{Entries: s.Entries, Negative: s.Negative, Bytes: s.Bytes}
	}
	if f := c.index.fills[scope]; f != nil {
		return *f
	}
	return Fill{}
}

// Close removes every entry. A later Get misses and a later Put is refused;
// the counters stay. Close may be called more than once, and returns nil.
func (c *Cache) Close() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.clearLocked()
	if c.sweeper != nil {
		c.sweeper.Stop()
	}
	return nil
}
