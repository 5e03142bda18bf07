package cache

import "testing"

// Flush against fill and reinsertion: what is put while a subtree leaves stays,
// whether it is new or in place of what was there.
func TestDropSubtreeAgainstPut(t *testing.T) {
	c := newCache(t, Config{})
	mustPut(t, c, "org:a", "kept", "old")
	mustPut(t, c, "org:a", "gone", "old")
	keys := c.subtree("org:a") // DropSubtree has looked, and not removed yet
	mustPut(t, c, "org:a", "kept", "new")
	mustPut(t, c, "org:a", "another", "new")
	c.removeRingKeys(keys)
	wantHit(t, c, "org:a", "kept", "new")
	wantHit(t, c, "org:a", "another", "new")
	wantMiss(t, c, "org:a", "gone")
	c.removeRingKeys(keys)
	wantHit(t, c, "org:a", "kept", "new")
}

// Index eviction against Get: an entry leaves between the moment when Get finds
// it in the index and the moment when it takes the bytes. Get misses, though
// another value may stand under that name by then, which it finds.
func TestEvictionAgainstGet(t *testing.T) {
	for name, test := range map[string]struct {
		leaves func(c *Cache)
		want   string
	}{
		"evicted":  {func(c *Cache) { c.Put("org:b", "other", []byte("other"), 0) }, ""},
		"dropped":  {func(c *Cache) { c.Drop("org:a", "id") }, ""},
		"cleared":  {func(c *Cache) { c.Clear() }, ""},
		"replaced": {func(c *Cache) { c.Put("org:a", "id", []byte("new"), 0) }, "new"},
		"evicted and put again": {func(c *Cache) {
			c.Put("org:b", "other", []byte("other"), 0)
			c.Put("org:a", "id", []byte("new"), 0)
		}, "new"},
	} {
		c := newCache(t, Config{Entries: 1})
		mustPut(t, c, "org:a", "id", "old")
		// These are the steps of get.
		s := &scratch{name: appendName(nil, []byte("org:a"), []byte("id"))}
		key, _, ok := c.lookup(0, s)
		if !ok {
			t.Fatal("not found")
		}
		test.leaves(c)
		if _, ok := c.ring.get(key); ok {
			t.Errorf("%s: the bytes are still there", name)
		}
		_, sealed, _, ok := c.getAfterWrite(0, s)
		got := ""
		if ok {
			value, err := s.secret.open(nil, sealed, s.name)
			if err != nil {
				t.Error(err)
			}
			got = string(value)
		}
		if got != test.want {
			t.Errorf("%s: Get finds %q, want %q", name, got, test.want)
		}
		if stats := c.Stats(); stats.Hits+stats.Misses != 1 || (stats.Hits == 1) != (test.want != "") {
			t.Errorf("%s: one Get is counted as %d hits and %d misses", name, stats.Hits, stats.Misses)
		}
	}
}

// The other order: Get has taken the bytes, and the entry leaves before they
// are opened. The Get began before that, and its value was current then.
func TestEvictionAgainstOpen(t *testing.T) {
	c := newCache(t, Config{Entries: 1})
	mustPut(t, c, "org:a", "id", "old")
	s := &scratch{name: appendName(nil, []byte("org:a"), []byte("id"))}
	key, _, _ := c.lookup(0, s)
	sealed, ok := c.ring.get(key)
	if !ok {
		t.Fatal("no bytes")
	}
	e := held(c, "org:a", "id")
	mustPut(t, c, "org:b", "other", "other")
	if secretOf(c, e) != (secret{}) {
		t.Error("the evicted entry keeps its secret")
	}
	if value, err := s.secret.open(nil, sealed, s.name); err != nil || string(value) != "old" {
		t.Errorf("the Get that had the bytes opens %q, %v", value, err)
	}
	wantMiss(t, c, "org:a", "id")
}
