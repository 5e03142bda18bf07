package coherence_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// Event delayed, the intent: however late it comes, it drops what was filled meanwhile.
func TestIntentDelayed(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		writer, late := replicas[0], replicas[1]
		log.Hold("r1")
		if _, _, err := writer.Write(t.Context(), key, "w1", stored); err != nil {
			t.Fatal(err)
		}
		if !fills(late, key, mustToken(t, late, key)) {
			t.Fatal("a fill before the intent has come is refused")
		}
		if late.cache.saw("org:acme/team:eng/db") {
			t.Fatal("an entry that is kept back is applied")
		}
		log.Release()
		synctest.Wait()
		if !late.cache.saw("org:acme/team:eng/db") {
			t.Error("an intent that comes late does not drop the key")
		}
	})
}

// Event delayed, the done: until it comes the key is held. If it comes later than a hold
// lasts, it drops what was cached by then.
func TestDoneDelayed(t *testing.T) {
	for _, delay := range []time.Duration{hold / 2, 2 * hold} {
		run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
			writer, late := replicas[0], replicas[1]
			_, _, err := writer.Write(t.Context(), key, "w1", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
				synctest.Wait()
				log.Hold("r1")
				return stored(ctx, intent)
			})
			if err != nil {
				t.Fatal(err)
			}
			late.cache.take()
			if _, ok := late.Token(key, subjects.Revision{}); ok {
				t.Error("a key is cached whose write has not ended here")
			}
			time.Sleep(delay)
			log.Release()
			synctest.Wait()
			if !late.cache.saw("org:acme/team:eng/db") {
				t.Errorf("a done that comes %s late does not drop the key", delay)
			}
			mustToken(t, late, key)
		})
	}
}

// again is a log that delivers each entry twice, and then once more the entry before it.
type again struct{ *coherencetest.Log }

func (l again) Follow(ctx context.Context, replica string, from subjects.Revision, window time.Duration, f coherence.Follower) error {
	return l.Log.Follow(ctx, replica, from, window, &stutter{Follower: f})
}

type stutter struct {
	coherence.Follower
	last  *subjects.Event
	place subjects.Revision
}

func (s *stutter) Deliver(at subjects.Revision, entry *subjects.Event) {
	s.Follower.Deliver(at, entry)
	s.Follower.Deliver(at, entry)
	if s.last != nil {
		s.Follower.Deliver(s.place, s.last)
	}
	s.last, s.place = entry, at
}

// Event duplicated by its delivery: an intent that is delivered again after its done holds
// nothing, and the revision does not go back.
func TestEventDeliveredAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cache := &cacheLog{}
		r := replica{coherence.NewReplica(again{coherencetest.NewLog()}, cache, coherence.Config{Name: "r0", Logger: slog.New(slog.DiscardHandler)}), cache}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		defer func() { cancel(); <-done }()
		synctest.Wait()
		at, _, err := r.Write(t.Context(), key, "w1", stored)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r.Applied() != at {
			t.Errorf("it is at %s, the done at %s", r.Applied(), at)
		}
		mustToken(t, r, key)
		for _, dropped := range cache.take() {
			if dropped == "all" {
				t.Error("an entry that is delivered again counts as a gap")
			}
		}
	})
}

// Event duplicated in the log, because the answer to its append was lost: a second done
// releases only its own hold.
func TestDoneAppendedAgain(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		if _, _, err := replicas[0].Write(t.Context(), key, "w1", stored); err != nil {
			t.Fatal(err)
		}
		entries := log.Entries()
		done := entries[len(entries)-1]
		_, _, err := replicas[0].Write(t.Context(), key, "w2", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
			if _, err := log.Append(t.Context(), &done); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			for _, r := range replicas {
				if _, ok := r.Token(key, subjects.Revision{}); ok {
					t.Error("the second done of an earlier write released the hold of this one")
				}
			}
			return stored(ctx, intent)
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		mustToken(t, replicas[1], key)
	})
}
