package cache

import "testing"

// Flush against fill and reinsertion: a value that is put while a subtree leaves stays,
// whether its name is new or replaces an entry.
func TestDropSubtreeAgainstPut(t *testing.T) {
	c := newCache(t, Config{})
	mustPut(t, c, "org:a", "kept", "old")
	mustPut(t, c, "org:a", "gone", "old")
	entries := c.subtree("org:a") // DropSubtree has looked, but not removed yet
	mustPut(t, c, "org:a", "kept", "new")
	mustPut(t, c, "org:a", "another", "new")
	c.removeAll(entries)
	wantHit(t, c, "org:a", "kept", "new")
	wantHit(t, c, "org:a", "another", "new")
	wantMiss(t, c, "org:a", "gone")
	c.removeAll(entries)
	wantHit(t, c, "org:a", "kept", "new")
}

// Index eviction against Get: an entry leaves after Get finds it in the index and
// before Get reads the bytes, which stay in their place. The Get began before the entry
// left, so its value was current then. The next Get does not find it.
func TestEvictionAgainstGet(t *testing.T) {
	for name, test := range map[string]struct {
		leaves func(c *Cache)
		want   string // of the next Get
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
		e, at, _ := c.lookup(0, s)
		if e == nil {
			t.Fatal("not found")
		}
		test.leaves(c)
		if secretOf(c, e) != (secret{}) {
			t.Errorf("%s: the entry that left keeps its secret", name)
		}
		sealed, ok := at.segment.get(at.key)
		if value, err := s.secret.open(nil, sealed, s.name); !ok || err != nil || string(value) != "old" {
			t.Errorf("%s: the Get that had found it opens %q, %v", name, value, err)
		}
		if got, ok := get(c, "org:a", "id"); got != test.want || ok != (test.want != "") {
			t.Errorf("%s: the next Get finds %q, want %q", name, got, test.want)
		}
		c.forget(e) // what a Get does that finds damage: it must harm no other entry
		if got, ok := get(c, "org:a", "id"); got != test.want || ok != (test.want != "") {
			t.Errorf("%s: the next Get finds %q after one found damage, want %q", name, got, test.want)
		}
	}
}
