package coherence_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/subjects"
)

// A change in the store itself drops the key at once where it is noticed. All replicas may
// notice it, but it becomes one event, after a flush whose revision the event carries.
func TestChangedOutside(t *testing.T) {
	for version, kind := range map[string]subjects.EventKind{"v9": subjects.EventStored, "": subjects.EventDeleted} {
		run(t, 3, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
			before := mustToken(t, replicas[0], key)
			for _, r := range replicas[:2] {
				r.Changed(key, "v8")
				r.Changed(key, version) // the last counts
				if !r.cache.saw("org:acme/team:eng/db") {
					t.Error("the key is not dropped at once")
				}
			}
			if fills(replicas[0], key, before) {
				t.Error("a token from before the change fills")
			}
			if len(log.Entries()) != 0 {
				t.Fatal("the change is reported before it is clear that no write explains it")
			}
			time.Sleep(time.Second)
			events := log.Entries()
			if len(events) != 2 || events[0].Kind != coherence.Flush || events[0].Target != key {
				t.Fatalf("the log has %+v, want a flush of the key and an event", events)
			}
			flush := replicas[2].Applied()
			flush.Seq--
			if e := events[1]; e.Kind != kind || e.Target != key || e.Version != version || e.Revision != flush || e.WriteID != "" || e.At.IsZero() {
				t.Errorf("the event is %+v, the flush is at %s", e, flush)
			}
			if !replicas[2].cache.saw("org:acme/team:eng/db") {
				t.Error("a replica that did not notice it does not drop the key")
			}
			// Nothing orders the change with other writes: no answer is refused.
			if !fillsWith(replicas[2], key, mustToken(t, replicas[2], key), coherence.Answer{}) {
				t.Error("a record that no worker wrote is not cached")
			}
		})
	}
}

// A change that a worker's own write explains becomes no event, whenever the store reports
// it: while the write is under way, after it is done, or before this replica has heard of
// the write at all.
func TestChangedByAWrite(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		changed := func() {
			for _, r := range replicas {
				r.Changed(key, "v2")
			}
		}
		count := func(when string, want int) {
			t.Helper()
			time.Sleep(time.Second)
			if n := len(log.Entries()); n != want {
				t.Errorf("after a report of %s, the log has %d entries, want %d", when, n, want)
			}
		}
		_, _, err := replicas[0].Write(t.Context(), key, "w1", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
			synctest.Wait()
			changed()
			return stored(ctx, intent)
		})
		if err != nil {
			t.Fatal(err)
		}
		count("a write that is under way", 2)
		token := mustToken(t, replicas[1], key)
		changed()
		count("a write that is done", 2)
		if mustToken(t, replicas[1], key) != token {
			t.Error("a change that a write explains makes a token void")
		}

		log.Hold("r1")
		if _, _, err := replicas[0].Write(t.Context(), key, "w2", stored); err != nil {
			t.Fatal(err)
		}
		replicas[1].cache.take()
		replicas[1].Changed(key, "v3")
		if !replicas[1].cache.saw("org:acme/team:eng/db") {
			t.Error("an unexplained change does not drop the key at once")
		}
		replicas[1].Changed(key, "v2")
		log.Release()
		count("a write that this replica had not heard of", 4)
	})
}

// A change in the store itself, during a write that turns out not to have made it: the
// write ends without effect, or has an unknown outcome and takes effect late, or its
// writer dies.
func TestChangedDuringAWrite(t *testing.T) {
	for name, test := range map[string]struct {
		end  subjects.EventKind // none for a writer that dies
		wait time.Duration
	}{
		"unchanged": {coherence.Unchanged, time.Second},
		"unknown":   {coherence.Unknown, 2*hold + time.Second},
		"no end":    {"", hold + time.Second},
	} {
		run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
			entry := &subjects.Event{Kind: coherence.Intent, Target: key, WriteID: "w1"}
			if _, err := log.Append(t.Context(), entry); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for _, r := range replicas {
				r.Changed(key, "v9")
			}
			time.Sleep(hold / 2)
			if n := len(log.Entries()); n != 1 {
				t.Errorf("%s: while the write is under way there are %d entries more", name, n-1)
			}
			entry.Kind = test.end
			if entry.Kind != "" {
				if _, err := log.Append(t.Context(), entry); err != nil {
					t.Fatal(err)
				}
			}
			before := len(log.Entries())
			time.Sleep(test.wait)
			events := log.Entries()[before:]
			if len(events) != 2 || events[1].Kind != subjects.EventStored || events[1].Version != "v9" {
				t.Errorf("%s: the unexplained change becomes %+v, want a flush and an event", name, events)
			}
		})
	}
}

// A change in the store itself that a write replaces before it is reported is not reported
// after the write: the last event would describe a version that is gone.
func TestChangedBeforeAWrite(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		for _, r := range replicas {
			r.Changed(key, "v1")
		}
		if _, _, err := replicas[0].Write(t.Context(), key, "w1", stored); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, r := range replicas {
			r.Changed(key, "v2")
		}
		time.Sleep(time.Second)
		if events := log.Entries(); len(events) != 2 || events[1].WriteID != "w1" {
			t.Errorf("the log has %+v, want the intent and the done of the write", events)
		}
	})
}

// A replica that stops drops the changes that it has not reported yet.
func TestChangedWhileStopping(t *testing.T) {
	run(t, 1, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		replicas[0].Changed(key, "v9")
	}) // the replica ends with the test: synctest would report a timer left behind
}

// When anything may have changed, every token is void and the cache empty.
func TestChangedAllVoidsTokens(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		before := mustToken(t, r, key)
		flushes := r.Flushes()
		r.ChangedAll("default")
		if !r.cache.saw("all") || r.Flushes() != flushes+1 {
			t.Error("the cache is not cleared, or that is not counted")
		}
		if fills(r, key, before) {
			t.Error("a token from before fills")
		}
		if !fills(r, key, mustToken(t, r, key)) {
			t.Error("after it nothing can be cached")
		}
		if len(log.Entries()) != 0 {
			t.Error("it is announced to the others, which learn it from the store themselves")
		}
	})
}
