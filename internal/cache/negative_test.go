package cache

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/testbed/bubble"
)

func TestNegativeEntryIsAnEntryToGetAndAMissToProbe(t *testing.T) {
	c := newCache(t, Config{})
	scope, id := []byte("org:a"), []byte("id")
	for _, value := range []string{"", "since revision 7"} {
		if !c.Put("org:a", "id", []byte(value), Absent|1) {
			t.Fatal("Put was refused")
		}
		before := c.Stats()
		dst := append(make([]byte, 0, 64), "head:"...)
		if got, flags, ok := c.Probe(dst, scope, id); ok || flags != Absent || string(got) != "head:" {
			t.Errorf("Probe = %q, %d, %v; want dst unchanged, and Absent", got, flags, ok)
		}
		if got := string(dst[:cap(dst)][5:8]); got != "\x00\x00\x00" {
			t.Errorf("Probe wrote %q behind dst", got)
		}
		if after := c.Stats(); after != before {
			t.Errorf("Probe changed the statistics from %+v to %+v", before, after)
		}
		for _, dst := range [][]byte{nil, dst} {
			got, flags, ok := c.Get(dst, scope, id)
			if !ok || flags != Absent|1 || string(got) != string(dst)+value {
				t.Errorf("Get = %q, %d, %v; want %q", got, flags, ok, value)
			}
		}
		if s := c.Stats(); s.Hits != before.Hits+2 || s.Misses != 0 || s.Entries != 1 || s.Negative != 1 || s.Bytes != int64(len(value)) {
			t.Errorf("stats %+v", s)
		}
	}
	mustPut(t, c, "org:a", "id", "value") // it was created
	if got, flags, ok := c.Probe(nil, scope, id); !ok || flags != 0 || string(got) != "value" {
		t.Errorf("Probe = %q, %d, %v", got, flags, ok)
	}
	if s := c.Stats(); s.Entries != 1 || s.Negative != 0 || s.Evictions != 0 {
		t.Errorf("stats %+v", s)
	}
	putAbsent(t, c, "org:a", "id") // and is gone again
	c.Drop("org:a", "id")
	wantMiss(t, c, "org:a", "id")
	putAbsent(t, c, "org:a", "id")
	c.DropSubtree("org:a")
	wantMiss(t, c, "org:a", "id")
	putAbsent(t, c, "org:a", "id")
	c.Clear()
	wantMiss(t, c, "org:a", "id")
	if s := c.Stats(); s.Entries != 0 || s.Negative != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestAgainCountsOnce looks a name up twice, by Probe and Again: this counts as one miss,
// or as one hit if the name was put meanwhile.
func TestAgainCountsOnce(t *testing.T) {
	scope, id := []byte("org:a"), []byte("id")
	for name, put := range map[string]func(*Cache){
		"missing": func(*Cache) {},
		"there":   func(c *Cache) { mustPut(t, c, "org:a", "id", "value") },
		"absent":  func(c *Cache) { putAbsent(t, c, "org:a", "id") },
	} {
		c := newCache(t, Config{})
		if _, flags, ok := c.Probe(nil, scope, id); ok || flags != 0 {
			t.Errorf("%s: Probe = %d, %v", name, flags, ok)
		}
		if s := c.Stats(); s.Hits != 0 || s.Misses != 1 {
			t.Errorf("%s: after Probe %+v", name, s)
		}
		put(c)
		hits := 0
		if _, _, ok := c.Again(nil, scope, id); ok {
			hits = 1
		}
		if s := c.Stats(); hits != map[string]int{"there": 1, "absent": 1}[name] || s.Hits != uint64(hits) || s.Misses != uint64(1-hits) {
			t.Errorf("%s: %d hits, %+v", name, hits, s)
		}
	}
}

// TestNegativeTTLIsExact lets each kind outlive the other.
func TestNegativeTTLIsExact(t *testing.T) {
	for _, config := range []Config{
		{TTL: 10 * time.Second, NegativeTTL: 3 * time.Second},
		{TTL: 3 * time.Second, NegativeTTL: 10 * time.Second},
		{NegativeTTL: 0, TTL: time.Second}, // DefaultNegativeTTL
	} {
		bubble.Test(t, func(t *testing.T) {
			c := newCache(t, config)
			config := config.withDefaults()
			mustPut(t, c, "org:a", "there", "value")
			putAbsent(t, c, "org:a", "absent")
			lives := map[string]time.Duration{"there": config.TTL, "absent": config.NegativeTTL}
			for len(lives) > 0 {
				first := "there"
				if _, ok := lives[first]; !ok || lives["absent"] > 0 && lives["absent"] < lives[first] {
					first = "absent"
				}
				begun := c.now()
				time.Sleep(lives[first] - begun - 1)
				for id := range lives {
					if _, ok := get(c, "org:a", id); !ok {
						t.Errorf("%+v: %s is gone after %v", config, id, c.now())
					}
				}
				time.Sleep(time.Nanosecond)
				wantMiss(t, c, "org:a", first)
				delete(lives, first)
			}
			if s := c.Stats(); s.Expired != 2 || s.Entries != 0 || s.Negative != 0 || s.Evictions != 0 {
				t.Errorf("%+v: stats %+v", config, s)
			}
		})
	}
}

// TestNegativeEntriesLeaveByThemselves puts an absence that expires before the sweep
// that is due for the other entries.
func TestNegativeEntriesLeaveByThemselves(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCache(t, Config{TTL: time.Hour, NegativeTTL: 10 * time.Second})
		mustPut(t, c, "org:a", "there", "value")
		for round := range 3 {
			time.Sleep(time.Minute)
			putAbsent(t, c, "org:a", "absent")
			e := held(c, "org:a", "absent")
			time.Sleep(10*time.Second - 1)
			synctest.Wait()
			if s := c.Stats(); s.Entries != 2 || s.Negative != 1 {
				t.Errorf("before it expires: %+v", s)
			}
			time.Sleep(sweepInterval + 1)
			synctest.Wait()
			if s := c.Stats(); s.Entries != 1 || s.Negative != 0 || s.Expired != uint64(round+1) || secretOf(c, e) != (secret{}) {
				t.Errorf("a second after it expired: %+v", s)
			}
		}
		wantHit(t, c, "org:a", "there", "value")
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := c.Stats(); s.Entries != 0 {
			t.Errorf("after an hour: %+v", s)
		}
	})
}

// TestNegativeEntriesAreBounded asks for so many nonexistent names that without the
// bound all existing ones would be evicted.
func TestNegativeEntriesAreBounded(t *testing.T) {
	for entries, most := range map[int]int{1: 1, 2: 1, 4: 1, 7: 1, 8: 2, 100: 25} {
		c := newCache(t, Config{Entries: entries})
		there := entries - most
		for i := range there {
			mustPut(t, c, "org:a", fmt.Sprint(i), "value")
		}
		for i := range 10 * entries {
			id := fmt.Sprint("absent", i)
			putAbsent(t, c, "org:a", id)
			wantHit(t, c, "org:a", id, "")
			wantHit(t, c, "org:a", fmt.Sprint("absent", max(0, i-most+1)), "") // using it does not save it
			if i >= most {
				wantMiss(t, c, "org:a", fmt.Sprint("absent", i-most))
			}
		}
		for i := range there {
			wantHit(t, c, "org:a", fmt.Sprint(i), "value")
		}
		if s := c.Stats(); s.Negative != most || s.Entries != entries || s.Evictions != uint64(10*entries-most) {
			t.Errorf("%d entries: %+v", entries, s)
		}
		for i := range entries { // existing values may take all of it
			mustPut(t, c, "org:b", fmt.Sprint(i), "value")
		}
		if s := c.Stats(); s.Negative != 0 || s.Entries != entries {
			t.Errorf("%d entries: %+v", entries, s)
		}
	}
}

// TestExpiredNegativeGivesWayFirst checks that an absence that has been idle too long
// leaves before an older one that is live.
func TestExpiredNegativeGivesWayFirst(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCache(t, Config{Entries: 8, Idle: 500 * time.Millisecond})
		putAbsent(t, c, "org:a", "old")
		putAbsent(t, c, "org:a", "idle")
		time.Sleep(400 * time.Millisecond)
		wantHit(t, c, "org:a", "old", "")
		time.Sleep(100 * time.Millisecond)
		putAbsent(t, c, "org:a", "third")
		wantHit(t, c, "org:a", "old", "")
		wantHit(t, c, "org:a", "third", "")
		if s := c.Stats(); s.Expired != 1 || s.Evictions != 0 || s.Negative != 2 {
			t.Errorf("stats %+v", s)
		}
	})
}
