package cache

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/testbed/bubble"
)

// bytesOf is the whole array of a segment, with deleted entries. Only reflection can
// read it: bigcache does not show it.
func bytesOf(s *segment) []byte {
	shards := reflect.ValueOf(s.cache).Elem().FieldByName("shards")
	return shards.Index(0).Elem().FieldByName("entries").FieldByName("array").Bytes()
}

// secretOf is what is left of the secret of e.
func secretOf(c *Cache, e *entry) secret {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.secret == nil {
		return secret{}
	}
	return *e.secret
}

func TestSegmentsHoldNeitherValuesNorNames(t *testing.T) {
	c := newCache(t, Config{})
	const canary, id = "canary-plaintext-0123456789", "id-canary-0123456789"
	for i := range 100 {
		mustPut(t, c, fmt.Sprint("org:scope-canary-", i), id, canary)
		wantHit(t, c, fmt.Sprint("org:scope-canary-", i), id, canary)
	}
	held := bytesOf(c.segments.current)
	for _, secret := range []string{canary, canary[:8], id, "scope-canary"} {
		if bytes.Contains(held, []byte(secret)) {
			t.Errorf("a segment holds %q", secret)
		}
	}
	// The search can find something: the key of the last entry is there.
	if !bytes.Contains(held, []byte{100, 0, 0, 0, 0, 0, 0, 0}) {
		t.Error("the search does not find a key that the segment holds")
	}
}

// TestSecretsDoNotOutliveEntries takes an entry out of the index in every possible
// way. Each time the ciphertext is still in the segment, and nothing opens it.
func TestSecretsDoNotOutliveEntries(t *testing.T) {
	exits := map[string]func(c *Cache){
		"drop":        func(c *Cache) { c.Drop("org:a", "id") },
		"subtree":     func(c *Cache) { c.DropSubtree("org:a") },
		"scopes":      func(c *Cache) { c.DropScopes(func(scope string) bool { return scope == "org:a" }) },
		"everything":  func(c *Cache) { c.DropSubtree("") },
		"clear":       func(c *Cache) { c.Clear() },
		"close":       func(c *Cache) { c.Close() },
		"replace":     func(c *Cache) { c.Put("org:a", "id", []byte("newer"), 0) },
		"refuse":      func(c *Cache) { c.Put("org:a", "id", make([]byte, 2*MinBytes), 0) },
		"evict":       func(c *Cache) { c.Put("org:a", "1", nil, 0); c.Put("org:a", "2", nil, 0) },
		"evict bytes": func(c *Cache) { c.Put("org:a", "1", make([]byte, MinBytes), 0) },
		"expire":      func(c *Cache) { time.Sleep(sweepInterval / 2); get(c, "org:a", "id") },
		"sweep":       func(c *Cache) { time.Sleep(sweepInterval); synctest.Wait() },
	}
	for name, exit := range exits {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				c := newCache(t, Config{Entries: 2, Bytes: MinBytes, TTL: sweepInterval / 2})
				mustPut(t, c, "org:a", "id", "value")
				e := held(c, "org:a", "id")
				at := e.place
				sealed, ok := at.segment.get(at.key)
				if !ok {
					t.Fatal("the segment does not hold the entry")
				}
				before := secretOf(c, e)
				c.mu.Lock()
				slot := e.secret
				c.mu.Unlock()
				if value, err := before.open(nil, sealed, []byte(e.name)); err != nil || string(value) != "value" {
					t.Fatalf("before it left: %q, %v", value, err)
				}
				exit(c)
				after := secretOf(c, e)
				c.mu.Lock()
				stays := after != (secret{}) || *slot == before // another entry may have the slot now
				c.mu.Unlock()
				if stays {
					t.Error("the secret is still there")
				}
				if value, err := after.open(nil, sealed, []byte(e.name)); err == nil {
					t.Errorf("the residue opens: %q", value)
				}
				if !bytes.Contains(bytesOf(at.segment), sealed) {
					t.Error("the segment was overwritten: this test shows nothing")
				}
				if held(c, "org:a", "id") == e {
					t.Error("the index still holds the entry")
				}
			})
		})
	}
}

func TestScratchKeepsNoSecret(t *testing.T) {
	c := newCache(t, Config{})
	mustPut(t, c, "org:a", "id", "value")
	s := new(scratch)
	c.scratches.New = func() any { return s }
	wantHit(t, c, "org:a", "id", "value")
	if len(s.name) == 0 || s.secret != (secret{}) {
		t.Error("the scratch was not used, or was not wiped")
	}
}

func TestSealIsBoundToNameAndSecret(t *testing.T) {
	c := newCache(t, Config{})
	mustPut(t, c, "org:a", "id", "value")
	mustPut(t, c, "org:b", "id", "other")
	a := held(c, "org:a", "id")
	b := held(c, "org:b", "id")
	sealed, _ := a.place.segment.get(a.place.key)
	opens := func(s *secret, sealed, name []byte) bool {
		_, err := s.open(nil, sealed, name)
		return err == nil
	}
	if !opens(a.secret, sealed, []byte(a.name)) {
		t.Fatal("does not open under its own name")
	}
	if opens(a.secret, sealed, []byte(b.name)) {
		t.Error("opens under another name")
	}
	if opens(b.secret, sealed, []byte(a.name)) {
		t.Error("opens with the secret of another entry")
	}
	otherNonce := *a.secret
	otherNonce.nonce = [12]byte{}
	if opens(&otherNonce, sealed, []byte(a.name)) {
		t.Error("opens with the key alone")
	}
	sealed[0] ^= 1
	if opens(a.secret, sealed, []byte(a.name)) {
		t.Error("opens although it was changed")
	}
}

// TestDamageIsAMiss damages or removes the bytes of an entry in its segment: the
// entry is forgotten, and nothing of it is returned.
func TestDamageIsAMiss(t *testing.T) {
	damages := map[string]func(c *Cache, e *entry){
		"changed": func(c *Cache, e *entry) {
			sealed, _ := e.place.segment.get(e.place.key)
			sealed[3] ^= 1
			e.place.segment.set(e.place.key, sealed)
		},
		"cut":  func(c *Cache, e *entry) { e.place.segment.set(e.place.key, nil) },
		"gone": func(c *Cache, e *entry) { e.place.segment.cache.Delete(e.place.key) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			c := newCache(t, Config{})
			mustPut(t, c, "org:a", "id", "value")
			damage(c, held(c, "org:a", "id"))
			dst := make([]byte, 0, 100)
			if value, _, ok := c.Get(dst, []byte("org:a"), []byte("id")); ok || len(value) != 0 {
				t.Errorf("Get = %q, %v", value, ok)
			}
			if bytes.Contains(dst[:100], []byte("alue")) {
				t.Errorf("dst holds a part of the value: %q", dst[:100])
			}
			if s := c.Stats(); s.Entries != 0 || s.Hits != 0 || s.Misses != 1 {
				t.Errorf("stats %+v", s)
			}
			mustPut(t, c, "org:a", "id", "value")
			wantHit(t, c, "org:a", "id", "value")
		})
	}
}
