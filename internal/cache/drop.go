package cache

import (
	"maps"
	"slices"
	"time"
)

func (c *Cache) untilSweepLocked(now time.Duration) time.Duration {
	return max(c.index.untilExpiry(now), sweepInterval)
}

// sweep removes expired entries that nobody asks for, so that their secrets are
// gone within sweepInterval even if the Cache is not used.
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
// before it began. Get waits while DropSubtree looks at every entry, and then while
// it removes them, removeBatch at a time.
func (c *Cache) DropSubtree(scope string) {
	if scope == "" {
		c.Clear()
		return
	}
	for batch := range slices.Chunk(c.subtree(scope), removeBatch) {
		c.removeAll(batch)
	}
}

// DropScopes removes the entries of every scope for which drop returns true. It asks for
// each scope on its own, also for one below another. It promises the same as DropSubtree.
// It calls drop for every entry, under no lock: Get waits while DropScopes collects the
// entries, and then while it removes some, removeBatch at a time.
func (c *Cache) DropScopes(drop func(scope string) bool) {
	entries := slices.DeleteFunc(c.entries(), func(e *entry) bool { return !drop(e.scope()) })
	for batch := range slices.Chunk(entries, removeBatch) {
		c.removeAll(batch)
	}
}

// entries returns all entries held at this moment.
func (c *Cache) entries() []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.AppendSeq(make([]*entry, 0, len(c.index.byName)), maps.Values(c.index.byName))
}

// subtree returns entries, not names, so that values put meanwhile stay.
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
