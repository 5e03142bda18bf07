package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// The kept names are bounded in memory and in time.
func TestWalks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var w Walks[[]int]
		kept := func(walk, place string, want int) {
			t.Helper()
			names, ok := w.Names(walk, place)
			if ok != (want > 0) || len(names) != want {
				t.Errorf("walk %s has %d names of %s, want %d", walk, len(names), place, want)
			}
		}
		keep := func(walk, place string, names, bytes int) { w.Keep(walk, place, make([]int, names), names, bytes) }
		keep("a", "few", walksLeast-1, 1)
		kept("a", "few", 0)
		keep("a", "large", walksLeast, WalksBytes+1)
		kept("a", "large", 0)
		keep("a", "x", walksLeast, 1000)
		kept("a", "x", walksLeast)
		kept("b", "x", 0) // another walk began later
		kept("a", "y", 0)

		time.Sleep(walksIdle - time.Second)
		kept("a", "x", walksLeast) // counts as a use
		keep("b", "x", 2*walksLeast, 2000)
		time.Sleep(walksIdle - 2*time.Second)
		kept("a", "x", walksLeast)
		time.Sleep(walksIdle - time.Second)
		kept("a", "x", walksLeast)
		kept("b", "x", 0)

		// The least recently used entry is dropped.
		keep("c", "x", walksLeast, WalksBytes/2)
		time.Sleep(time.Second)
		kept("a", "x", walksLeast)
		keep("d", "x", walksLeast, WalksBytes/2)
		kept("a", "x", walksLeast)
		kept("c", "x", 0)
		kept("d", "x", walksLeast)
		keep("d", "x", walksLeast, WalksBytes/2) // again
		kept("a", "x", walksLeast)

		var callers sync.WaitGroup
		for i := range 10 {
			callers.Go(func() {
				for n := range 20 {
					walk := fmt.Sprint(i, n%3)
					keep(walk, "x", walksLeast, WalksBytes/7)
					w.Names(walk, "x")
				}
			})
		}
		callers.Wait()
		counted := func(mostBytes, mostPlaces int) {
			t.Helper()
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.total > mostBytes || len(w.kept) > mostPlaces || (w.timer != nil) != (len(w.kept) > 0) {
				t.Errorf("%d bytes of %d places are kept, and a timer: %t", w.total, len(w.kept), w.timer != nil)
			}
		}
		counted(WalksBytes, 7)
		time.Sleep(2 * walksIdle)
		counted(0, 0)
		keep("e", "x", walksLeast, 1000)
		w.Close()
		w.Close()
		keep("f", "x", walksLeast, 1000)
		kept("e", "x", 0)
		kept("f", "x", 0)
	})
}

func TestWalkCursor(t *testing.T) {
	begun, err := ParseWalkCursor("", "org:acme")
	if err != nil || begun.Walk == "" || begun.After != (subjects.Target{}) {
		t.Fatalf("%+v, %v", begun, err)
	}
	last := subjects.Target{Scope: "org:acme/team:eng", ID: "db"}
	next, err := ParseWalkCursor(begun.At(last), "org:acme")
	if err != nil || next != (WalkCursor{last, begun.Walk}) {
		t.Errorf("%+v, %v; want walk %s after %v", next, err, begun.Walk, last)
	}
	older, err := ParseWalkCursor(FormatCursor(last), "org:acme")
	if err != nil || older.After != last || older.Walk == "" || older.Walk == begun.Walk {
		t.Errorf("a cursor of an earlier release: %+v, %v", older, err)
	}
	long := subjects.Target{Scope: subjects.Scope("org:" + strings.Repeat("a", 500)), ID: subjects.ID(strings.Repeat("b", 255))}
	if at := begun.At(long); len(at) > subjects.MaxCursorLen {
		t.Errorf("a cursor of %d bytes", len(at))
	}
	good := begun.At(last)
	for _, bad := range []string{"@", "@" + begun.Walk, good + "@", good + "A" + strings.Repeat("A", 20), strings.ToLower(good), FormatCursor(last) + "@", FormatCursor(last) + "@a b", "org:other/db@" + begun.Walk} {
		if c, err := ParseWalkCursor(bad, "org:acme"); !errors.Is(err, ErrCursor) {
			t.Errorf("%q: %+v, %v", bad, c, err)
		}
	}
}
