package history

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestMillion checks a long run: costs that grow faster than its length show here.
func TestMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("a million operations")
	}
	const keys, each = 20, 5600
	var h History
	var recording sync.WaitGroup
	for key := range keys {
		recording.Go(func() {
			for _, o := range rounds(fmt.Sprint("key-", key), each) {
				h.Add(o)
			}
		})
	}
	recording.Wait()
	ops := h.Ops()
	if len(ops) < 1_000_000 || Keys(ops) != keys {
		t.Fatalf("%d operations of %d keys", len(ops), Keys(ops))
	}
	begun := time.Now()
	lap := func(what string) {
		t.Logf("%s: %v", what, time.Since(begun))
		begun = time.Now()
	}
	commits := CommitsOf(ops)
	lap("commits")
	if ages := Staleness(ops, commits); ages.Stale+len(ages.Wrong) > 0 || ages.Max > 0 {
		t.Errorf("stale=%d wrong=%d worst %v", ages.Stale, len(ages.Wrong), ages.Worst)
	}
	lap("staleness")
	if faults := Sessions(ops, commits); faults.Count() > 0 {
		t.Errorf("%d violations", faults.Count())
	}
	lap("sessions")
	if found := Linearizable(ops, 5*time.Minute); len(found.Illegal)+len(found.Undecided) > 0 {
		t.Errorf("illegal=%v undecided=%v", found.Illegal, found.Undecided)
	}
	lap("linearizable")
	if got := len(WithFreshReads(ops)); got != keys*each {
		t.Errorf("%d writes", got)
	}
}
