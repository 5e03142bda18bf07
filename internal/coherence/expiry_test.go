package coherence_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/subjects"
)

func expiryEvent(kind subjects.EventKind, id, replica string) *subjects.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &subjects.Event{Kind: kind, Target: streamKey(id), Version: "v2", At: at, Replica: replica, Expires: at.Add(time.Hour)}
}

// An expiry event changes nothing of its credential: the cache stays, a write that is
// under way keeps its hold, and no reply carries a later revision. The event still has
// its place in the order.
func TestExpiryChangesNothing(t *testing.T) {
	for _, kind := range []subjects.EventKind{subjects.EventExpiring, subjects.EventExpired} {
		run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
			tell := func() {
				t.Helper()
				event := expiryEvent(kind, "db", "r0")
				at, err := log.Append(t.Context(), event)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for _, r := range replicas {
					if err := r.Await(t.Context(), at); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, _, err := replicas[0].Write(t.Context(), key, "w1", stored); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			reader := replicas[1]
			token, applied := mustToken(t, reader, key), reader.Applied()
			reader.cache.take()
			tell()
			if dropped := reader.cache.take(); len(dropped) > 0 {
				t.Errorf("%s drops %v", kind, dropped)
			}
			if reader.Applied() != applied {
				t.Errorf("%s moves the revision of replies from %v to %v", kind, applied, reader.Applied())
			}
			if !fills(reader, key, token) {
				t.Errorf("%s makes a token void", kind)
			}
			_, err := log.Append(t.Context(), &subjects.Event{Kind: coherence.Intent, Target: key, WriteID: "w2", Replica: "r0"})
			if err != nil {
				t.Fatal(err)
			}
			tell()
			if _, ok := reader.Token(key, subjects.Revision{}); ok {
				t.Errorf("%s ends the hold of a write", kind)
			}
		})
	}
}

// An expiry event is published only if the caller's place is still the last one.
func TestStreamTellsOnlyAfterTheLastEvent(t *testing.T) {
	b := newStreamBed(t)
	s := b.open(t)
	f := follow(t, s, "r0")
	event := expiryEvent(subjects.EventExpiring, "db", "r0")
	last := func() subjects.Revision {
		t.Helper()
		at, err := s.Last(t.Context(), event.Target)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	holds := func(event *subjects.Event, after subjects.Revision) bool {
		t.Helper()
		found, err := s.Holds(t.Context(), event, after)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	none := last()
	if none.Seq != 0 || none.Stream == 0 {
		t.Errorf("before any event the last is at %v", none)
	}
	stored := appendEntry(t, s, subjects.EventStored, "db")
	appendEntry(t, s, subjects.EventStored, "other")
	if at := last(); at != stored {
		t.Errorf("the last is at %v, stored at %v", at, stored)
	}
	if told, err := s.Tell(t.Context(), event, none); told || err != nil {
		t.Errorf("published after a place that is not the last: %v, %v", told, err)
	}
	if holds(event, none) {
		t.Error("found, but never published")
	}

	// Many at once: exactly one succeeds.
	var group sync.WaitGroup
	var told atomic.Int32
	for range 8 {
		group.Go(func() {
			ok, err := s.Tell(t.Context(), event, stored)
			if err != nil {
				t.Error(err)
			}
			if ok {
				told.Add(1)
			}
		})
	}
	group.Wait()
	if told.Load() != 1 {
		t.Errorf("published %d times", told.Load())
	}
	at := last()
	steps := f.delivered(t, at)
	if got := steps[len(steps)-1].entry; got != *event {
		t.Errorf("the replicas got %+v, want %+v", got, *event)
	}
	appendEntry(t, s, subjects.EventDeleted, "db")
	other := *event
	other.Replica = "r1"
	later := *event
	later.At = later.At.Add(time.Millisecond)
	for name, test := range map[string]struct {
		event *subjects.Event
		after subjects.Revision
		want  bool
	}{
		"after what stood before": {event, stored, true},
		"after the beginning":     {event, none, true},
		"after itself":            {event, at, false},
		"in another stream":       {event, subjects.Revision{Stream: at.Stream - 1, Seq: at.Seq + 100}, true},
		"another worker's":        {&other, stored, false},
		"a later one":             {&later, stored, false},
		"another kind":            {expiryEvent(subjects.EventExpired, "db", "r0"), stored, false},
		"of another credential":   {expiryEvent(subjects.EventExpiring, "other", "r0"), none, false},
	} {
		if got := holds(test.event, test.after); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
