package coherence_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

const lease = coherence.DefaultLease

// asks does what a read does before it looks at the cache.
func asks(t *testing.T, r *coherence.Replica) {
	r.Renew(t.Context())
	r.Look()
}

// A partitioned replica whose store is reachable answers from its cache to the end of its
// lease, and not a nanosecond longer. After that it gives no token, so no read fills the
// cache or joins another.
func TestPartitionedReplica(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		cut := replicas[1]
		log.Hold("r1") // at the moment of its last ping
		if _, _, err := replicas[0].Write(t.Context(), key, "w1", stored); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lease - time.Nanosecond)
		if !mayHit(cut.Replica, subjects.Revision{}) {
			t.Error("the lease ended early")
		}
		mustToken(t, cut, key)
		time.Sleep(time.Nanosecond)
		for range 10 { // its pings reach the log, but do not come back
			asks(t, cut.Replica)
			if mayHit(cut.Replica, subjects.Revision{}) {
				t.Fatal("a replica that is cut off answers from its cache after its lease")
			}
			if _, ok := cut.Token(key, subjects.Revision{}); ok {
				t.Fatal("a replica that is cut off gives out a token after its lease")
			}
			time.Sleep(lease / 4)
		}
		cut.cache.take()
		log.Release()
		synctest.Wait()
		asks(t, cut.Replica)
		if !cut.cache.saw("org:acme/team:eng/db") || !mayHit(cut.Replica, subjects.Revision{}) {
			t.Error("once it is back it has not caught up, or has no lease")
		}
	})
}

// A pause between lease check and reply: an entry is judged by the lease at the time of
// the look, though the replica has a newer one by now.
func TestLeaseEndsWhileAnEntryIsOpened(t *testing.T) {
	run(t, 1, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		before := r.Look()
		for range 4 * lease / (lease / 4) {
			time.Sleep(lease / 4)
			asks(t, r.Replica)
			synctest.Wait()
		}
		if !r.Look().Live() {
			t.Fatal("a replica that is asked all the time has no lease")
		}
		if before.Live() {
			t.Error("an entry is handed out that was looked up four leases ago")
		}
	})
}

// A lease counts from when its ping was sent, not from when it came back: entries that
// were appended in between may not have arrived yet.
func TestLeaseCountsFromItsPing(t *testing.T) {
	run(t, 1, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		log.Hold("r0")
		r.Look()
		const sent, echoed = lease / 4, lease - lease/8 // the only ping, and the first to come back
		time.Sleep(echoed)
		log.Release()
		synctest.Wait()
		log.Hold("r0")
		time.Sleep(sent + lease - echoed - time.Nanosecond)
		if !mayHit(r.Replica, subjects.Revision{}) {
			t.Error("the lease ended early")
		}
		time.Sleep(time.Nanosecond)
		if mayHit(r.Replica, subjects.Revision{}) {
			t.Error("the lease outlasts a Lease from when its ping was sent")
		}
	})
}

// Start before the first echo: a replica that knows where the log ends trusts nothing
// until its own ping has come back.
func TestStartBeforeTheFirstEcho(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		log := coherencetest.NewLog()
		log.Hold("r0")
		r := coherence.NewReplica(log, &cacheLog{}, coherence.Config{Name: "r0", Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		defer func() { cancel(); <-done }()
		synctest.Wait()
		for range 8 {
			asks(t, r)
			if _, ok := r.Token(key, subjects.Revision{}); ok || mayHit(r, subjects.Revision{}) || r.Trust() == coherence.Trusted {
				t.Fatal("it trusts its cache before its first ping has come back")
			}
			time.Sleep(lease / 4)
		}
		log.Release()
		synctest.Wait()
		asks(t, r)
		if !mayHit(r, subjects.Revision{}) {
			t.Error("its ping is back, and it does not trust its cache: ", r.Trust())
		}
	})
}

// An idle replica appends nothing. The first read after that waits for the lease, and
// then finds the cache unchanged.
func TestIdleReplica(t *testing.T) {
	run(t, 1, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		end := func() subjects.Revision {
			at, err := log.End(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		mustToken(t, r, key)
		time.Sleep(2 * lease)
		before := end()
		time.Sleep(time.Hour)
		if at := end(); at != before {
			t.Errorf("%d pings in an hour in which nobody asked", at.Seq-before.Seq)
		}
		if mayHit(r.Replica, subjects.Revision{}) || !strings.HasPrefix(r.Trust(), "idle") {
			t.Error("a lease outlives an hour: ", r.Trust())
		}
		log.Hold("r0")
		begun := time.Now()
		r.Renew(t.Context())
		if waited := time.Since(begun); waited != 100*time.Millisecond || mayHit(r.Replica, subjects.Revision{}) {
			t.Errorf("without an echo a read waits %s, want 100ms, and then has a lease: %v", waited, mayHit(r.Replica, subjects.Revision{}))
		}
		r.Renew(t.Context())
		if waited := time.Since(begun); waited != 100*time.Millisecond {
			t.Errorf("the next read waits again, until %s", waited)
		}
		time.Sleep(time.Hour)
		log.Release()
		synctest.Wait()
		time.Sleep(time.Hour)
		begun = time.Now()
		r.Renew(t.Context())
		if !mayHit(r.Replica, subjects.Revision{}) || time.Since(begun) != 0 {
			t.Errorf("the first read after an hour is no hit after %s: %s", time.Since(begun), r.Trust())
		}
		if dropped := r.cache.take(); len(dropped) != 0 {
			t.Errorf("being idle dropped %q", dropped)
		}
	})
}

// Reconnect within retention: a replica that was away applies what it missed,
// and keeps the rest of its cache.
func TestReconnectWithinRetention(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		other := subjects.Target{Scope: "org:acme", ID: "other"}
		before := mustToken(t, replicas[1], other)
		log.Hold("r1")
		if _, _, err := replicas[0].Write(t.Context(), key, "w1", stored); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		log.Release()
		synctest.Wait()
		for _, dropped := range replicas[1].cache.take() {
			if dropped != "org:acme/team:eng/db" {
				t.Errorf("it dropped %q", dropped)
			}
		}
		if mustToken(t, replicas[1], other).Epoch != before.Epoch { // their generation they may share
			t.Error("the tokens of all keys are void")
		}
	})
}

// Reconnect past retention: the log no longer has what a replica missed. The replica
// clears its cache, and caches nothing while a write may be under way that it has not
// heard of.
func TestReconnectPastRetention(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		away := replicas[1]
		before := mustToken(t, away, key)
		log.Hold("r1")
		if _, err := log.Append(t.Context(), &subjects.Event{Kind: coherence.Intent, Target: key, WriteID: "w1"}); err != nil {
			t.Fatal(err)
		}
		if _, err := replicas[0].Flush(t.Context(), subjects.Target{Scope: "org:other"}); err != nil {
			t.Fatal(err)
		}
		log.Trim(1)
		log.Release()
		synctest.Wait()
		if !away.cache.saw("all") {
			t.Error("the cache is not cleared")
		}
		if fills(away, key, before) {
			t.Error("a token from before the gap fills")
		}
		if _, ok := away.Token(key, subjects.Revision{}); ok {
			t.Error("a key is cached whose intent may have been missed")
		}
		time.Sleep(hold)
		mustToken(t, away, key)
	})
}

// A log that was restored from a backup has lost its end, and with it perhaps an intent.
func TestLogLosesItsEnd(t *testing.T) {
	run(t, 1, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		if _, _, err := r.Write(t.Context(), key, "w1", stored); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := mustToken(t, r, key)
		r.cache.take()
		log.Truncate(2)
		time.Sleep(time.Second) // until it is followed again
		if !r.cache.saw("all") || fills(r, key, before) {
			t.Error("the cache is not cleared, or a token from before fills")
		}
	})
}
