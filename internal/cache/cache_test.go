package cache

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/testbed/bubble"
)

func TestConfig(t *testing.T) {
	tests := []struct {
		config Config
		want   []string // in the error; none for a valid config
	}{
		{Config{}, nil},
		{Config{Entries: 1, Bytes: MinBytes, TTL: MinLifetime, NegativeTTL: MinLifetime, Idle: MinLifetime}, nil},
		{Config{Entries: MaxEntries, TTL: MaxLifetime, NegativeTTL: MaxLifetime, Idle: MaxLifetime}, nil},
		{Config{Entries: -1}, []string{"Entries", "1 to 100000"}},
		{Config{Entries: MaxEntries + 1}, []string{"Entries", "1 to 100000"}},
		{Config{Bytes: MinBytes - 1}, []string{"Bytes", "1024 to 17179869184"}},
		{Config{Bytes: -1}, []string{"Bytes", "1024 to 17179869184"}},
		{Config{Bytes: MaxBytes + 1}, []string{"Bytes", "1024 to 17179869184"}},
		{Config{TTL: -time.Second}, []string{"TTL", "1ms to 8760h0m0s"}},
		{Config{TTL: time.Microsecond}, []string{"TTL", "1ms to 8760h0m0s"}},
		{Config{TTL: MaxLifetime + 1}, []string{"TTL", "1ms to 8760h0m0s"}},
		{Config{NegativeTTL: -time.Second}, []string{"NegativeTTL", "1ms to 8760h0m0s"}},
		{Config{NegativeTTL: time.Microsecond}, []string{"NegativeTTL", "1ms to 8760h0m0s"}},
		{Config{NegativeTTL: MaxLifetime + 1}, []string{"NegativeTTL", "1ms to 8760h0m0s"}},
		{Config{Idle: MaxLifetime + 1}, []string{"Idle", "1ms to 8760h0m0s"}},
		{Config{Idle: -time.Second}, []string{"Idle", "1ms to 8760h0m0s"}},
	}
	for _, test := range tests {
		c, err := New(test.config)
		if err == nil {
			c.Close()
		}
		if (err == nil) != (test.want == nil) {
			t.Errorf("New(%+v): %v", test.config, err)
			continue
		}
		for _, part := range test.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("New(%+v): %q does not say %q", test.config, err, part)
			}
		}
	}
	stats := newCache(t, Config{}).Stats()
	if stats.Capacity != 1000 || stats.BytesCapacity != 64<<20 {
		t.Errorf("defaults: %+v", stats)
	}
}

func TestGetAppendsValueAndReturnsFlags(t *testing.T) {
	c := newCache(t, Config{})
	for flags, value := range []string{"", "one", strings.Repeat("long", 1000)} {
		if !c.Put("org:a", "id", []byte(value), uint8(flags)) {
			t.Fatal("Put was refused")
		}
		dst := append(make([]byte, 0, 8192), "head:"...)
		got, gotFlags, ok := c.Get(dst, []byte("org:a"), []byte("id"))
		if !ok || string(got) != "head:"+value || gotFlags != uint8(flags) {
			t.Fatalf("Get = %.20q, %d, %v", got, gotFlags, ok)
		}
		if &got[0] != &dst[0] {
			t.Error("Get left a dst of sufficient capacity")
		}
	}
	dst := []byte("head:")
	if got, flags, ok := c.Get(dst, []byte("org:a"), []byte("absent")); ok || flags != 0 || string(got) != "head:" {
		t.Errorf("a miss returns %q, %d, %v; want dst unchanged", got, flags, ok)
	}
}

// TestNamesDoNotCollide has pairs that look the same when scope and id are joined.
func TestNamesDoNotCollide(t *testing.T) {
	c := newCache(t, Config{})
	pairs := [][2]string{
		{"org:a", "b"}, {"org:", "ab"}, {"", "org:ab"}, {"org:ab", ""}, {"", ""},
		{"org:a/", "b"}, {"org:a", "/b"}, {"org:a\x00", "b"}, {"org:a", "\x00b"},
		{strings.Repeat("x", 127), "xx"}, {strings.Repeat("x", 128), "x"}, {strings.Repeat("x", 129), ""},
	}
	for i, p := range pairs {
		mustPut(t, c, p[0], p[1], fmt.Sprint("value ", i))
	}
	for i, p := range pairs {
		wantHit(t, c, p[0], p[1], fmt.Sprint("value ", i))
	}
	for i, p := range pairs {
		c.Drop(p[0], p[1])
		wantMiss(t, c, p[0], p[1])
		for j, q := range pairs[i+1:] {
			wantHit(t, c, q[0], q[1], fmt.Sprint("value ", i+1+j))
		}
	}
}

func TestPutRefusesTooLarge(t *testing.T) {
	c := newCache(t, Config{Bytes: 2000})
	mustPut(t, c, "org:a", "id", strings.Repeat("v", 2000))
	if c.Put("org:a", "id", make([]byte, 2001), 0) {
		t.Error("Put took more than Bytes")
	}
	wantMiss(t, c, "org:a", "id") // the older value must not stay
	if s := c.Stats(); s.Refused != 1 || s.Evictions != 0 || s.Entries != 0 || s.Bytes != 0 {
		t.Errorf("stats %+v", s)
	}
	big := newCache(t, Config{})
	mustPut(t, big, "org:a", "id", strings.Repeat("v", MaxValueLen))
	if big.Put("org:a", "other", make([]byte, MaxValueLen+1), 0) {
		t.Error("Put took more than MaxValueLen")
	}
	wantHit(t, big, "org:a", "id", strings.Repeat("v", MaxValueLen))
}

func TestDropSubtree(t *testing.T) {
	scopes := []string{
		"", "org:a", "org:a/team:b", "org:a/team:b/service:c", "org:a/team:bb", "org:a/team:b-x",
		"org:ab", "org:ab/team:b", "org:b", "org", "org:a/team",
	}
	tests := []struct {
		drop string
		gone []string
	}{
		{"", scopes},
		{"org:a", []string{"org:a", "org:a/team:b", "org:a/team:b/service:c", "org:a/team:bb", "org:a/team:b-x", "org:a/team"}},
		{"org:a/team:b", []string{"org:a/team:b", "org:a/team:b/service:c"}},
		{"org:a/team:b/service:c", []string{"org:a/team:b/service:c"}},
		{"org:ab", []string{"org:ab", "org:ab/team:b"}},
		{"org:a/team:b/service:c/more:d", nil},
		{"org:absent", nil},
	}
	for _, test := range tests {
		c := newCache(t, Config{})
		for _, scope := range scopes {
			mustPut(t, c, scope, "id1", scope)
			mustPut(t, c, scope, "id2", scope)
		}
		c.DropSubtree(test.drop)
		gone := map[string]bool{}
		for _, scope := range test.gone {
			gone[scope] = true
		}
		for _, scope := range scopes {
			for _, id := range []string{"id1", "id2"} {
				if _, ok := get(c, scope, id); ok == gone[scope] {
					t.Errorf("after DropSubtree(%q) %q is held: %v", test.drop, scope, ok)
				}
			}
		}
		if s := c.Stats(); s.Entries != 2*(len(scopes)-len(gone)) || s.Evictions != 0 || s.Expired != 0 {
			t.Errorf("after DropSubtree(%q): %+v", test.drop, s)
		}
	}
}

// DropScopes asks for each scope on its own: a scope below a dropped one may stay.
func TestDropScopes(t *testing.T) {
	c := newCache(t, Config{})
	scopes := []string{"", "org:a", "org:a/team:b", "org:a/team:b/service:c", "org:b"}
	for _, scope := range scopes {
		mustPut(t, c, scope, "id1", scope)
		mustPut(t, c, scope, "id2", scope)
	}
	c.DropScopes(func(scope string) bool { return scope == "org:a" || scope == "org:a/team:b/service:c" })
	for _, scope := range scopes {
		for _, id := range []string{"id1", "id2"} {
			if _, ok := get(c, scope, id); ok == (scope == "org:a" || scope == "org:a/team:b/service:c") {
				t.Errorf("%q is held: %v", scope, ok)
			}
		}
	}
	if s := c.Stats(); s.Entries != 6 || s.Evictions != 0 || s.Expired != 0 {
		t.Errorf("%+v", s)
	}
}

// TestDropSubtreeInBatches drops more entries than leave at once.
func TestDropSubtreeInBatches(t *testing.T) {
	c := newCache(t, Config{Entries: 3 * removeBatch})
	for i := range 2*removeBatch + 1 {
		mustPut(t, c, "org:a/team:b", fmt.Sprint(i), "value")
	}
	mustPut(t, c, "org:b", "id", "value")
	c.DropSubtree("org:a")
	if s := c.Stats(); s.Entries != 1 || s.Bytes != int64(len("value")) {
		t.Errorf("stats %+v", s)
	}
	wantHit(t, c, "org:b", "id", "value")
}

func TestTTLIsExact(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const ttl = 10 * time.Second
		c := newCache(t, Config{TTL: ttl})
		mustPut(t, c, "org:a", "id", "value")
		time.Sleep(ttl - 1)
		wantHit(t, c, "org:a", "id", "value")
		mustPut(t, c, "org:a", "id", "again") // a Put begins a new life, a Get does not
		time.Sleep(ttl - 1)
		wantHit(t, c, "org:a", "id", "again")
		time.Sleep(time.Nanosecond)
		wantMiss(t, c, "org:a", "id")
		if s := c.Stats(); s.Expired != 1 || s.Hits != 2 || s.Misses != 1 || s.Entries != 0 || s.Evictions != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestIdleIsExact(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const ttl, idle = 10 * time.Second, 3 * time.Second
		c := newCache(t, Config{TTL: ttl, Idle: idle})
		mustPut(t, c, "org:a", "used", "value")
		mustPut(t, c, "org:a", "idle", "value")
		for range 3 { // a use restarts the idle time
			time.Sleep(idle - 1)
			wantHit(t, c, "org:a", "used", "value")
		}
		wantMiss(t, c, "org:a", "idle")
		time.Sleep(time.Nanosecond) // 9 s, since there were three steps of idle - 1
		wantHit(t, c, "org:a", "used", "value")
		time.Sleep(time.Second + time.Nanosecond) // TTL - 1 from the Put: a use does not extend that
		wantHit(t, c, "org:a", "used", "value")
		time.Sleep(time.Nanosecond)
		wantMiss(t, c, "org:a", "used")

		mustPut(t, c, "org:a", "id", "value")
		time.Sleep(idle - 1)
		wantHit(t, c, "org:a", "id", "value")
		time.Sleep(idle)
		wantMiss(t, c, "org:a", "id")
	})
}

// TestExpiredEntriesLeaveByThemselves checks that a Cache nobody uses does not
// keep secrets: entries are gone a second after they expire at the latest.
func TestExpiredEntriesLeaveByThemselves(t *testing.T) {
	configs := map[string]Config{
		"TTL":  {TTL: 10 * time.Second, Entries: 5000},
		"Idle": {TTL: time.Hour, Idle: 10 * time.Second, Entries: 5000},
	}
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				c := newCache(t, config)
				const n = 2*removeBatch + 500
				for i := range n {
					mustPut(t, c, "org:a", fmt.Sprint(i), "value")
					time.Sleep(time.Millisecond)
				}
				e := held(c, "org:a", "0")
				time.Sleep(10*time.Second - n*time.Millisecond - 1)
				if s := c.Stats(); s.Entries != n {
					t.Fatalf("before the first expires: %+v", s)
				}
				time.Sleep(sweepInterval + 1)
				synctest.Wait()
				if s := c.Stats(); s.Entries > n-1000 || secretOf(c, e) != (secret{}) {
					t.Errorf("a second after the first expired: %+v", s)
				}
				time.Sleep(n * time.Millisecond)
				synctest.Wait()
				if s := c.Stats(); s.Entries != 0 || s.Expired != n || s.Bytes != 0 {
					t.Errorf("a second after the last expired: %+v", s)
				}
				mustPut(t, c, "org:a", "later", "value") // the sweep starts again
				time.Sleep(11 * time.Second)
				synctest.Wait()
				if s := c.Stats(); s.Expired != n+1 {
					t.Errorf("after one more: %+v", s)
				}
			})
		})
	}
}

// TestExpiredGivesWayFirst checks that no live entry is evicted while there is
// an expired one, however recently that was used.
func TestExpiredGivesWayFirst(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCache(t, Config{Entries: 2, TTL: 500 * time.Millisecond})
		mustPut(t, c, "org:a", "old", "value")
		time.Sleep(400 * time.Millisecond)
		mustPut(t, c, "org:a", "new", "value")
		wantHit(t, c, "org:a", "old", "value") // now the least recently used is "new"
		time.Sleep(100 * time.Millisecond)     // and "old" has expired
		mustPut(t, c, "org:a", "third", "value")
		wantHit(t, c, "org:a", "new", "value")
		wantMiss(t, c, "org:a", "old")
		if s := c.Stats(); s.Expired != 1 || s.Evictions != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestCloseAndClear(t *testing.T) {
	c := newCache(t, Config{})
	mustPut(t, c, "org:a", "id", "value")
	c.Clear()
	wantMiss(t, c, "org:a", "id")
	mustPut(t, c, "org:a", "id", "value")
	wantHit(t, c, "org:a", "id", "value")
	for range 2 {
		c.Close()
	}
	wantMiss(t, c, "org:a", "id")
	if c.Put("org:a", "id", []byte("value"), 0) {
		t.Error("Put after Close reports true")
	}
	wantMiss(t, c, "org:a", "id")
	c.Drop("org:a", "id")
	c.DropSubtree("org:a")
	c.Clear()
	if s := c.Stats(); s.Entries != 0 || s.Bytes != 0 || s.Hits != 1 || s.Misses != 3 || s.HitRate() != 0.25 {
		t.Errorf("stats %+v", s)
	}
	if rate := (Stats{}).HitRate(); rate != 0 {
		t.Errorf("HitRate without a lookup is %v", rate)
	}
}

// TestSealed checks that Seal alone changes nothing, and that the lifetime begins with
// Hold.
func TestSealed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const ttl = 10 * time.Second
		c := newCache(t, Config{TTL: ttl})
		mustPut(t, c, "org:a", "id", "old")
		never := c.Seal("org:a", "id", []byte("never"), 0)
		later := c.Seal("org:a", "id", []byte("later"), 3)
		wantHit(t, c, "org:a", "id", "old")
		never.Release()
		wantHit(t, c, "org:a", "id", "old")
		if secretOf(c, never.entry) != (secret{}) {
			t.Error("the secret of a released value is still there")
		}
		time.Sleep(ttl)
		if !later.Hold() {
			t.Fatal("the value was not held")
		}
		later.Release()
		time.Sleep(ttl - 1)
		if value, flags, ok := c.Get(nil, []byte("org:a"), []byte("id")); !ok || string(value) != "later" || flags != 3 {
			t.Errorf("%q, %d, %v", value, flags, ok)
		}
		time.Sleep(time.Nanosecond)
		wantMiss(t, c, "org:a", "id")

		mustPut(t, c, "org:a", "id", "old")
		long := c.Seal("org:a", "id", make([]byte, MaxValueLen+1), 0)
		wantHit(t, c, "org:a", "id", "old")
		if long.Hold() {
			t.Error("a value that is too long was held")
		}
		long.Release()
		wantMiss(t, c, "org:a", "id") // nor does the older value stay
	})
}
