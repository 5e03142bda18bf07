package cache

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newCache creates a Cache that is closed with the test.
func newCache(t testing.TB, config Config) *Cache {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// get is Get for tests: the value, or "" and false.
func get(c *Cache, scope, id string) (string, bool) {
	value, _, ok := c.Get(nil, []byte(scope), []byte(id))
	return string(value), ok
}

func mustPut(t testing.TB, c *Cache, scope, id, value string) {
	t.Helper()
	if !c.Put(scope, id, []byte(value), 0) {
		t.Fatalf("Put(%q, %q) of %d bytes was refused", scope, id, len(value))
	}
}

// putAbsent puts a negative entry without a value.
func putAbsent(t testing.TB, c *Cache, scope, id string) {
	t.Helper()
	if !c.Put(scope, id, nil, Absent) {
		t.Fatalf("Put(%q, %q) of an absence was refused", scope, id)
	}
}

func wantHit(t testing.TB, c *Cache, scope, id, value string) {
	t.Helper()
	if got, ok := get(c, scope, id); !ok || got != value {
		t.Fatalf("Get(%q, %q) = %.40q, %v; want %.40q", scope, id, got, ok, value)
	}
}

func wantMiss(t testing.TB, c *Cache, scope, id string) {
	t.Helper()
	if got, ok := get(c, scope, id); ok {
		t.Fatalf("Get(%q, %q) = %.40q; want a miss", scope, id, got)
	}
}

// held is the entry of a name, or nil.
func held(c *Cache, scope, id string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.byName[string(appendName(nil, scope, id))]
}
