package coherence_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/subjects"
)

// runStrict runs test once a lease has passed in which the replicas heard of each other,
// and each has a lease.
func runStrict(t *testing.T, n int, test func(t *testing.T, log *coherencetest.Log, replicas []replica)) {
	t.Helper()
	runWith(t, n, coherence.Config{Mode: coherence.Strict}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		time.Sleep(2 * lease)
		for _, r := range replicas {
			mustToken(t, r, key)
			r.cache.take()
		}
		synctest.Wait()
		test(t, log, replicas)
	})
}

// commits is the time from the start of a write to its commit.
func commits(t *testing.T, r replica, write string) time.Duration {
	t.Helper()
	begun := time.Now()
	var took time.Duration
	_, ran, err := r.Write(t.Context(), key, write, func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
		took = time.Since(begun)
		return stored(ctx, intent)
	})
	if err != nil || !ran {
		t.Errorf("Write = ran %v, %v", ran, err)
	}
	return took
}

// A strict write does not wait for replicas that have applied its intent.
func TestStrictWriteWithoutLag(t *testing.T) {
	for _, n := range []int{1, 3} { // nor for itself, if it is alone
		runStrict(t, n, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
			if took := commits(t, replicas[0], "w1"); took != 0 {
				t.Errorf("with %d replicas, none of which lags, a write waited %s", n, took)
			}
		})
	}
}

// A strict write waits for a replica that pinged, and so might answer with the old
// state, until it acknowledges the intent, and no longer.
func TestStrictWriteWaitsForAcknowledgement(t *testing.T) {
	runStrict(t, 3, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Hold("r1")
		const lag = lease / 4
		time.AfterFunc(lag, log.Release)
		begun := time.Now()
		_, _, err := replicas[0].Write(t.Context(), key, "w1", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
			if mayHit(replicas[1].Replica, subjects.Revision{}) && !replicas[1].cache.saw("org:acme/team:eng/db") {
				t.Error("a replica answers from its cache what is being replaced")
			}
			return stored(ctx, intent)
		})
		if took := time.Since(begun); err != nil || took != lag {
			t.Errorf("a write waited %s, %v; the replica lagged for %s", took, err, lag)
		}
	})
}

// A strict write does not wait longer than the lease of a replica that is cut off: after
// that, the replica cannot answer from its cache.
func TestStrictWriteOutwaitsALease(t *testing.T) {
	runStrict(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		const since = lease / 8
		time.Sleep(since)
		log.Hold("r1")
		begun := time.Now()
		_, _, err := replicas[0].Write(t.Context(), key, "w1", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
			if took := time.Since(begun); took != lease-since {
				t.Errorf("it waited %s, the lease ran for %s", took, lease-since)
			}
			if mayHit(replicas[1].Replica, subjects.Revision{}) {
				t.Error("a replica that is cut off answers from its cache what is being replaced")
			}
			return stored(ctx, intent)
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * lease)
		if took := commits(t, replicas[0], "w2"); took != 0 {
			t.Errorf("two leases later a write waited %s for a replica that has no lease", took)
		}
	})
}

// The pings of a replica that is cut off still reach the log, but prove nothing. A write
// waits no longer for them than a lease.
func TestStrictWriteAgainstPings(t *testing.T) {
	runStrict(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Hold("r1")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		defer func() { cancel(); <-done }()
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				asks(t, replicas[1].Replica) // all the time, so it pings
				time.Sleep(lease / 16)
			}
		}()
		time.Sleep(lease / 2)
		if took := commits(t, replicas[0], "w1"); took > lease || took == 0 {
			t.Errorf("a write waited %s", took)
		}
	})
}

// A strict write does not wait for a replica that has announced its leave.
func TestStrictWriteAfterLeave(t *testing.T) {
	runStrict(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Hold("r1")
		if err := replicas[1].Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if took := commits(t, replicas[0], "w1"); took != 0 {
			t.Errorf("a write waited %s for a replica that has left", took)
		}
	})
}

// A writer that has just started, or has missed part of the log, may not have
// heard of a replica that has a lease.
func TestStrictWriteWaitsForUnknownReplicas(t *testing.T) {
	runWith(t, 1, coherence.Config{Mode: coherence.Strict}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		if took := commits(t, replicas[0], "w1"); took != lease {
			t.Errorf("after its start it waited %s, want a lease", took)
		}
		if took := commits(t, replicas[0], "w2"); took != 0 {
			t.Errorf("a lease later it waited %s", took)
		}
		log.Hold("r0")
		for range 2 {
			if _, err := log.Append(t.Context(), &subjects.Event{Kind: coherence.Mark}); err != nil {
				t.Fatal(err)
			}
		}
		log.Trim(1)
		log.Release()
		synctest.Wait()
		if took := commits(t, replicas[0], "w3"); took != lease {
			t.Errorf("after a gap it waited %s, want a lease", took)
		}
	})
}

// A strict write whose caller gives up while it waits writes nothing, and leaves no hold.
func TestStrictWriteGivesUp(t *testing.T) {
	runStrict(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Hold("r1")
		ctx, cancel := context.WithTimeout(t.Context(), lease/2)
		defer cancel()
		_, ran, err := replicas[0].Write(ctx, key, "w1", stored)
		if ran || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Write = ran %v, %v", ran, err)
		}
		log.Release()
		synctest.Wait()
		for _, r := range replicas {
			mustToken(t, r, key)
		}
	})
}
