package cache

import (
	"fmt"
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

	// DefaultNegativeTTL is short: most lookups of an absent name come from
	// callers that wait for it to appear.
	DefaultNegativeTTL = 10 * time.Second

	// MaxValueLen is the most bytes one value may have, or Config.Bytes if that
	// is less. It is the largest payload that a NATS server carries by default.
	MaxValueLen = 1 << 20
)

// Absent is a flag of Put: the entry says that its name is known not to exist. The
// caller may give it any value, or none. Such an entry is called negative. It has
// limits of its own, see Config.
const Absent uint8 = 1 << 7

// sweepInterval is the least time between two sweeps for expired entries. It is
// also the longest that the secret of an expired entry stays in memory.
const sweepInterval = time.Second

// removeBatch bounds how many entries leave while a Get waits.
const removeBatch = 1000

// Config bounds a Cache. A zero field takes its default.
type Config struct {
	// Entries is the most entries held at any time: 1 to MaxEntries. At most a
	// quarter of them, or one, are negative.
	Entries int
	// Bytes is the most value bytes held at any time, MinBytes to MaxBytes. It
	// counts the length of each value as given to Put. Names, seals and framing
	// come on top, as the package comment says.
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

// maxNegative is the most negative entries. Nonexistent names can be made up
// without end. Without this bound, a caller that asks for many of them would push
// out everything that exists.
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
	vault     *vault

	compacting sync.Mutex // held during compaction

	// writing is held while segments are written to, and while entries move to
	// another place.
	writing sync.Mutex

	mu       sync.Mutex
	index    index         // guarded by mu
	segments segments      // each field names its lock
	sweeper  *time.Timer   // guarded by mu; nil unless a sweep is due or under way
	sweepAt  time.Duration // guarded by mu; when the sweep is due, past while one is under way
	closed   bool          // guarded by mu
}

// scratch is what a Get needs besides the caller's buffer. It is pooled because its
// parts are passed to an interface, which would allocate them each time.
type scratch struct {
	name   []byte
	secret secret
}

// New creates an empty Cache. Its error names the setting that is out of range, and
// the range.
func New(config Config) (*Cache, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	c := &Cache{started: time.Now(), maxValue: config.maxValueLen()}
	c.scratches.New = func() any { return new(scratch) }
	c.vault = newVault(c)
	c.index = newIndex(config, c.vault, c.segments.leave)
	return c, nil
}

// Locked reports whether the system keeps the keys of all entries so far out of swap.
func (c *Cache) Locked() bool { return c.vault.locked() }

// now is the time since the Cache was created, by the monotonic clock.
func (c *Cache) now() time.Duration { return time.Since(c.started) }

// Get appends the value to dst and returns the result with the flags that Put
// was given. If there is no live entry, it returns dst unchanged, and false.
// It keeps neither scope nor id.
//
// The value is opened straight into dst, which is reallocated at most once. The
// caller owns the result and must wipe it. A reallocation leaves a copy of dst's
// earlier content behind: to avoid it, give dst the capacity for the value.
func (c *Cache) Get(dst, scope, id []byte) (value []byte, flags uint8, ok bool) {
	return c.getBut(0, dst, scope, id)
}

// Probe is Get for a caller that wants existing values only: it skips a negative entry, and
// returns Absent without ok. The statistics do not count that, since only Get returns the entry.
func (c *Cache) Probe(dst, scope, id []byte) (value []byte, flags uint8, ok bool) {
	value, flags, ok = c.getBut(Absent, dst, scope, id)
	if !ok && flags != 0 {
		c.forgive()
	}
	return value, flags, ok
}

// Again is Get for a caller whose Probe has missed. It counts in place of that Probe.
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

// getBut is Get, but skips entries with any flag of but, and then returns those flags.
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
	// The entry may leave or move meanwhile, but the bytes at this place stay.
	sealed, ok := at.segment.get(at.key)
	if ok {
		if value, err := s.secret.open(dst, sealed, s.name); err == nil {
			return value, flags, true
		}
	}
	c.forget(e) // its bytes were damaged
	return dst, 0, false
}

// lookup finds the live entry of s.name, counts the use, and copies its secret to s:
// from then on the entry may leave and be wiped at any time. Without an entry, flags are
// those for which an entry was skipped.
func (c *Cache) lookup(but uint8, s *scratch) (e *entry, at place, flags uint8) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The clock is read under mu, so that waiting for it cannot extend a life.
	e, passed := c.index.use(s.name, but, c.now())
	if e == nil {
		return nil, place{}, passed
	}
	s.secret = *e.secret
	return e, e.place, e.flags
}

// forget drops an entry whose bytes cannot be read, and turns its hit into a miss.
func (c *Cache) forget(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.stats.Hits--
	c.index.stats.Misses++
	if c.index.holds(e) {
		c.index.remove(e)
	}
}

// Stats reports the counters and the fill of this moment.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.snapshot()
}

// Fill reports what is held of scope and of all scopes below it; the empty scope covers
// everything. Its time does not depend on how much that is.
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
// the counters stay. Close may be called more than once.
func (c *Cache) Close() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.clearLocked()
	if c.sweeper != nil {
		c.sweeper.Stop()
	}
}
