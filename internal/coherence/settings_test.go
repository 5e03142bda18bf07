package coherence_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/subjects"
)

// A key stays held for as long as its writer says. The writer may have other settings:
// while a change of settings rolls over the workers, some always do.
func TestHoldIsThatOfItsWriter(t *testing.T) {
	const long = 4 * hold
	runEach(t, []coherence.Config{{Hold: long}, {Hold: hold}}, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		writer, reader := replicas[0], replicas[1]
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _, _ = writer.Write(t.Context(), key, "w1", func(ctx context.Context, _ subjects.Revision) (coherence.Commit, error) {
				<-ctx.Done() // the writer hangs for as long as it may
				return coherence.Commit{Kind: coherence.Unchanged}, ctx.Err()
			})
		}()
		synctest.Wait()
		time.Sleep(long - time.Second)
		reader.Renew(t.Context())
		if _, ok := reader.Token(key, subjects.Revision{}); ok {
			t.Error("the reader lets go of a key before its writer does")
		}
		<-ended
		synctest.Wait()
		reader.Renew(t.Context())
		mustToken(t, reader, key)
	})
}

// A replica starts whose own writes are quicker than another's. It holds everything for as
// long as a write may last that was announced before the replica knew the log.
func TestLongestHoldAtAStart(t *testing.T) {
	const long = 4 * hold
	runEach(t, []coherence.Config{{Hold: long}, {Hold: hold}}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Recreate() // the intents of the former log are gone
		time.Sleep(2 * hold)
		for _, r := range replicas {
			r.Renew(t.Context())
			if _, ok := r.Token(key, subjects.Revision{}); ok {
				t.Errorf("%s lets go of a key that a write may still change", r.Name())
			}
		}
		time.Sleep(long)
		for _, r := range replicas {
			r.Renew(t.Context())
			mustToken(t, r, key)
		}
	})
}

// pinged appends a ping, by which another replica says that it trusts its cache from now on.
func pinged(t *testing.T, log *coherencetest.Log, ping subjects.Event) {
	t.Helper()
	ping.Kind = coherence.Ping
	if _, err := log.Append(t.Context(), &ping); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// A strict write waits for a replica that is cut off until that replica's own lease has
// run out. That lease may be longer or shorter than the writer's.
func TestLeaseIsThatOfItsSender(t *testing.T) {
	for _, other := range []time.Duration{lease / 2, 2 * lease} {
		configs := []coherence.Config{{Mode: coherence.Strict, Hold: hold}, {Lease: other, Hold: hold}}
		runEach(t, configs, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
			time.Sleep(4 * lease) // no lease from before the start is left
			mustToken(t, replicas[1], key)
			synctest.Wait()
			log.Hold("r1")
			begun := time.Now()
			_, _, err := replicas[0].Write(t.Context(), key, "w1", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
				if mayHit(replicas[1].Replica, subjects.Revision{}) {
					t.Error("a replica answers from its cache what is being replaced")
				}
				if waited := time.Since(begun); waited != other {
					t.Errorf("the write waited %s for a lease of %s", waited, other)
				}
				return stored(ctx, intent)
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A replica of an earlier version does not say how long its lease is: it counts as long as
// the writer's. A lease longer than MaxLease counts as MaxLease.
func TestLeaseMissingOrAbsurd(t *testing.T) {
	runWith(t, 1, coherence.Config{Mode: coherence.Strict}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		time.Sleep(2 * lease)
		pinged(t, log, subjects.Event{Replica: "earlier"})
		if took := commits(t, replicas[0], "w1"); took != lease {
			t.Errorf("a write waited %s for a replica of an earlier version, want %s", took, lease)
		}
		if n := replicas[0].AbsurdLeases(); n != 0 {
			t.Errorf("%d leases are absurd", n)
		}
		for _, absurd := range []time.Duration{coherence.MaxLease + 1, 1<<63 - 1} {
			pinged(t, log, subjects.Event{Replica: "absurd", Lease: absurd})
			if took := commits(t, replicas[0], "w-"+absurd.String()); took != coherence.MaxLease {
				t.Errorf("a write waited %s for a replica that says %s, want %s", took, absurd, coherence.MaxLease)
			}
		}
		if n := replicas[0].AbsurdLeases(); n != 2 {
			t.Errorf("%d leases are absurd, want 2", n)
		}
	})
}

// A replica trusts its own cache for MaxLease at most.
func TestOwnLeaseIsBounded(t *testing.T) {
	runEach(t, []coherence.Config{{Lease: time.Hour, Hold: hold}}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Hold("r0")
		time.Sleep(coherence.MaxLease)
		if mayHit(replicas[0].Replica, subjects.Revision{}) {
			t.Error("it trusts its cache for longer than the others wait for it")
		}
	})
}

// For replicas that it has not heard of, a writer waits for the longest lease that it
// knows: from its start, or from another replica's ping.
func TestLongestLeaseOfUnknownReplicas(t *testing.T) {
	const long = 2 * lease
	runWith(t, 1, coherence.Config{Mode: coherence.Strict, LongestLease: long}, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		if took := commits(t, replicas[0], "w1"); took != long {
			t.Errorf("after its start a write waited %s, want %s", took, long)
		}
	})
	runWith(t, 1, coherence.Config{Mode: coherence.Strict}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		const since = lease / 2
		time.Sleep(since)
		pinged(t, log, subjects.Event{Replica: "other", Lease: long})
		if _, err := log.Append(t.Context(), &subjects.Event{Kind: coherence.Leave, Replica: "other"}); err != nil {
			t.Fatal(err)
		}
		if took := commits(t, replicas[0], "w1"); took != long-since {
			t.Errorf("the write waited %s, want %s: others may have as long a lease", took, long-since)
		}
	})
}

// If the log does not return its end, a reply about a missing record waits for the longest
// lease of any replica: one of them may still answer with the record.
func TestEndWaitsForTheLongestLease(t *testing.T) {
	const long = 2 * lease
	runEach(t, []coherence.Config{{Hold: hold}, {Hold: hold, Lease: long}}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Fail(context.DeadlineExceeded)
		begun := time.Now()
		if _, err := replicas[0].End(t.Context(), time.Second); err != nil || time.Since(begun) != long {
			t.Errorf("End took %s, %v; want %s", time.Since(begun), err, long)
		}
		log.Fail(nil)
	})
}

// Another version of the protocol in a ping is reported once, to the log and to the worker.
func TestOtherProtocols(t *testing.T) {
	var told []string
	var logs strings.Builder
	config := coherence.Config{Hold: hold, OtherProtocol: func(version int, replica string) { told = append(told, fmt.Sprint(replica, " ", version)) }}
	runEach(t, []coherence.Config{config}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		replicas[0].SetLogger(slog.New(slog.NewTextHandler(&logs, nil)))
		for range 3 {
			pinged(t, log, subjects.Event{Replica: "earlier"}) // which names no version, counts as version 1
			pinged(t, log, subjects.Event{Replica: "same", Protocol: coherence.Protocol})
			pinged(t, log, subjects.Event{Replica: "newer", Protocol: coherence.Protocol + 1})
			pinged(t, log, subjects.Event{Replica: "newer too", Protocol: coherence.Protocol + 1})
		}
		want := fmt.Sprint("newer ", coherence.Protocol+1)
		if strings.Join(told, ",") != want || strings.Count(logs.String(), "protocol=") != 1 {
			t.Errorf("reported %q, want %q; logs:\n%s", told, want, logs.String())
		}
		if heard := fmt.Sprint(replicas[0].OtherProtocols()); heard != fmt.Sprint(map[int]string{coherence.Protocol + 1: "newer"}) {
			t.Errorf("heard %s", heard)
		}
		for i := range 1000 {
			pinged(t, log, subjects.Event{Replica: "mad", Protocol: 100 + i})
		}
		if n := len(replicas[0].OtherProtocols()); n > 20 {
			t.Errorf("%d versions are remembered", n)
		}
	})
}
