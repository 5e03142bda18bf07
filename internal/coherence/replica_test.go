package coherence_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// cacheLog is a cache that records which drops it was asked for.
type cacheLog struct {
	mu      sync.Mutex
	dropped []string
	scopes  []string // that DropScopes finds
}

func (c *cacheLog) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped = append(c.dropped, what)
}

func (c *cacheLog) Drop(scope, id string)    { c.note(scope + "/" + id) }
func (c *cacheLog) DropSubtree(scope string) { c.note(scope + "/**") }
func (c *cacheLog) Clear()                   { c.note("all") }

func (c *cacheLog) DropScopes(drop func(string) bool) {
	for _, scope := range c.scopes {
		if drop(scope) {
			c.note(scope + "/*")
		}
	}
}

// take returns what was dropped since the last call.
func (c *cacheLog) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	dropped := c.dropped
	c.dropped = nil
	return dropped
}

func (c *cacheLog) saw(what string) bool {
	for _, dropped := range c.take() {
		if dropped == what {
			return true
		}
	}
	return false
}

const hold = 10 * time.Second

type replica struct {
	*coherence.Replica
	cache *cacheLog
}

// run runs test with n replicas on one log, in synthetic time.
func run(t *testing.T, n int, test func(t *testing.T, log *coherencetest.Log, replicas []replica)) {
	t.Helper()
	runWith(t, n, coherence.Config{}, test)
}

func runWith(t *testing.T, n int, config coherence.Config, test func(t *testing.T, log *coherencetest.Log, replicas []replica)) {
	t.Helper()
	config.Hold = hold
	runEach(t, slices.Repeat([]coherence.Config{config}, n), test)
}

// runEach runs a replica for each of configs.
func runEach(t *testing.T, configs []coherence.Config, test func(t *testing.T, log *coherencetest.Log, replicas []replica)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		log := coherencetest.NewLog()
		var replicas []replica
		for i, config := range configs {
			cache := &cacheLog{}
			config.Name, config.Logger = fmt.Sprintf("r%d", i), slog.New(slog.DiscardHandler)
			r := coherence.NewReplica(log, cache, config)
			running.Go(func() { r.Run(ctx) })
			replicas = append(replicas, replica{r, cache})
		}
		synctest.Wait()
		for _, r := range replicas {
			if r.Trust() != coherence.Trusted {
				t.Fatalf("a replica that has followed the log to its end is %q", r.Trust())
			}
			r.cache.take()
		}
		test(t, log, replicas)
	})
}

var key = subjects.Target{Scope: "org:acme/team:eng", ID: "db"}

func stored(context.Context, subjects.Revision) (coherence.Commit, error) {
	return coherence.Commit{Kind: subjects.EventStored, Version: "v2"}, nil
}

func fills(r replica, key subjects.Target, token coherence.Token) bool {
	return fillsWith(r, key, token, coherence.Answer{Revision: r.Applied()})
}

func fillsWith(r replica, key subjects.Target, token coherence.Token, answer coherence.Answer) bool {
	filled := false
	accepted := r.Fill(key, token, answer, func() { filled = true })
	return accepted && filled
}

// mayHit reports whether a cached entry may answer a read that asks for min.
func mayHit(r *coherence.Replica, min subjects.Revision) bool {
	look := r.Look()
	return look.Reached(min) && look.Live()
}

func mustToken(t *testing.T, r replica, key subjects.Target) coherence.Token {
	t.Helper()
	r.Renew(t.Context()) // time may have passed without a read
	token, ok := r.Token(key, subjects.Revision{})
	if !ok {
		t.Fatal("no token, though nothing holds the key")
	}
	return token
}

func TestStartTrustsNothing(t *testing.T) {
	r := coherence.NewReplica(coherencetest.NewLog(), &cacheLog{}, coherence.Config{})
	if mayHit(r, subjects.Revision{}) {
		t.Error("a replica that has not followed the log yet answers from its cache")
	}
	if _, ok := r.Token(key, subjects.Revision{}); ok {
		t.Error("a replica that has not followed the log yet gives out a token")
	}
}

// Fill after invalidation: a read that began before a write must not bring the old state
// back into the cache.
func TestFillAfterInvalidation(t *testing.T) {
	run(t, 2, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		reader, writer := replicas[0], replicas[1]
		before := mustToken(t, reader, key)
		if _, _, err := writer.Write(t.Context(), key, "w1", stored); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !reader.cache.saw("org:acme/team:eng/db") {
			t.Error("the other replica did not drop the key")
		}
		if fills(reader, key, before) {
			t.Error("a token from before the write fills")
		}
		if reader.Refused() != 1 {
			t.Errorf("%d refused fills are counted, want 1", reader.Refused())
		}
		if !fills(reader, key, mustToken(t, reader, key)) {
			t.Error("a token from after the write does not fill")
		}
	})
}

// Between intent and commit the store still has the old state.
func TestNoFillWhileAWriteIsUnderWay(t *testing.T) {
	run(t, 2, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		for _, r := range replicas {
			_, _, err := replicas[1].Write(t.Context(), key, "w1", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
				synctest.Wait()
				if _, ok := r.Token(key, subjects.Revision{}); ok {
					t.Error("a key is read into the cache between intent and commit")
				}
				other := subjects.Target{Scope: key.Scope, ID: "other"}
				if _, ok := r.Token(other, subjects.Revision{}); !ok {
					t.Error("a write to one key keeps another out of the cache")
				}
				return stored(ctx, intent)
			})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			mustToken(t, r, key)
		}
	})
}

// Overlapping writes: the done of one must not release the hold of the other.
func TestDoneReleasesItsOwnHoldOnly(t *testing.T) {
	run(t, 3, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		release := make(chan struct{})
		go replicas[0].Write(t.Context(), key, "slow", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) { //nolint:errcheck // the test is not about its end
			<-release
			return stored(ctx, intent)
		})
		synctest.Wait()
		if _, _, err := replicas[1].Write(t.Context(), key, "fast", stored); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, ok := replicas[2].Token(key, subjects.Revision{}); ok {
			t.Error("the end of one write released the key while another was under way")
		}
		close(release)
		synctest.Wait()
		mustToken(t, replicas[2], key)
	})
}

// A writer dies between store and done: the others drop the key at its intent, and hold
// it for as long as the write may have taken.
func TestWriterDies(t *testing.T) {
	run(t, 1, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		before := mustToken(t, r, key)
		intent := &subjects.Event{Kind: coherence.Intent, Target: key, WriteID: "w1"}
		if _, err := log.Append(t.Context(), intent); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !r.cache.saw("org:acme/team:eng/db") {
			t.Error("the intent did not drop the key")
		}
		time.Sleep(hold - time.Nanosecond)
		if _, ok := r.Token(key, subjects.Revision{}); ok {
			t.Error("the hold ended early")
		}
		time.Sleep(time.Nanosecond)
		mustToken(t, r, key)
		if fills(r, key, before) {
			t.Error("a token from before the intent fills after the hold")
		}
	})
}

// A write that timed out may still take effect late: its key stays held for longer.
func TestUnknownOutcomeHoldsLonger(t *testing.T) {
	run(t, 2, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		late := errors.New("no answer")
		_, ran, err := replicas[0].Write(t.Context(), key, "w1", func(context.Context, subjects.Revision) (coherence.Commit, error) {
			return coherence.Commit{Kind: coherence.Unknown}, late
		})
		if !ran || !errors.Is(err, late) {
			t.Fatalf("Write = ran %v, %v", ran, err)
		}
		synctest.Wait()
		for _, r := range replicas {
			if _, ok := r.Token(key, subjects.Revision{}); ok {
				t.Error("a key whose write may still land is cached")
			}
		}
		time.Sleep(2 * hold)
		for _, r := range replicas {
			mustToken(t, r, key)
		}
	})
}

// A write that changed nothing releases its key at once and is no event.
func TestUnchangedReleases(t *testing.T) {
	run(t, 2, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		conflict := errors.New("conflict")
		_, ran, err := replicas[0].Write(t.Context(), key, "w1", func(context.Context, subjects.Revision) (coherence.Commit, error) {
			return coherence.Commit{Kind: coherence.Unchanged}, conflict
		})
		if !ran || !errors.Is(err, conflict) {
			t.Fatalf("Write = ran %v, %v", ran, err)
		}
		synctest.Wait()
		for _, r := range replicas {
			mustToken(t, r, key)
		}
	})
}

// Nothing is written if its intent cannot be announced first.
func TestNoIntentNoWrite(t *testing.T) {
	run(t, 1, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		down := errors.New("no stream")
		log.Fail(down)
		_, ran, err := replicas[0].Write(t.Context(), key, "w1", func(context.Context, subjects.Revision) (coherence.Commit, error) {
			t.Error("the store was written without an intent")
			return coherence.Commit{Kind: subjects.EventStored}, nil
		})
		if ran || !errors.Is(err, down) {
			t.Errorf("Write = ran %v, %v", ran, err)
		}
		log.Fail(nil)
		mustToken(t, replicas[0], key)
	})
}

// Event lost: the write stands, and no replica is stale, since all of them hold the key.
func TestDoneLost(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		down := errors.New("no stream")
		_, ran, err := replicas[0].Write(t.Context(), key, "w1", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
			log.Fail(down)
			return stored(ctx, intent)
		})
		if !ran || !errors.Is(err, coherence.ErrUnannounced) || !errors.Is(err, down) {
			t.Errorf("Write = ran %v, %v; want ErrUnannounced", ran, err)
		}
		synctest.Wait()
		if _, ok := replicas[1].Token(key, subjects.Revision{}); ok {
			t.Error("the other replica caches a key whose write has no end")
		}
	})
}

// Fill after flush, and flush against fill: a flush makes every token void.
func TestFillAfterFlush(t *testing.T) {
	run(t, 2, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		elsewhere := subjects.Target{Scope: "org:other", ID: "x"}
		before := mustToken(t, replicas[0], key)
		at, err := replicas[1].Flush(t.Context(), subjects.Target{Scope: "org:acme"})
		if err != nil {
			t.Fatal(err)
		}
		if err := replicas[0].Await(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if !replicas[0].cache.saw("org:acme/**") {
			t.Error("the flush did not reach the cache")
		}
		if fills(replicas[0], key, before) {
			t.Error("a token from before the flush fills")
		}
		if !fills(replicas[0], elsewhere, mustToken(t, replicas[0], elsewhere)) {
			t.Error("after a flush nothing can be cached")
		}
		if _, err := replicas[1].Flush(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !replicas[0].cache.saw("org:acme/team:eng/db") {
			t.Error("the flush of one credential did not reach the cache")
		}
	})
}

// Write on one replica, then read on another with the revision of the write: a replica
// that lags behind reads the store and caches nothing.
func TestRevisionNotReached(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Hold("r1")
		revision, _, err := replicas[0].Write(t.Context(), key, "w1", stored)
		if err != nil {
			t.Fatal(err)
		}
		lagging := replicas[1]
		if !mayHit(lagging.Replica, subjects.Revision{}) {
			t.Error("a read without a revision is kept from the cache")
		}
		if mayHit(lagging.Replica, revision) {
			t.Error("a replica that has not applied the revision answers from its cache")
		}
		if _, ok := lagging.Token(key, revision); ok {
			t.Error("a replica that has not applied the revision fills its cache")
		}
		log.Release()
		synctest.Wait()
		if !mayHit(lagging.Replica, revision) {
			t.Error("a replica that has applied the revision does not answer")
		}
	})
}

// The revision in a change event is enough to see the change. It is that of the intent,
// at which every replica has dropped and held the key.
func TestEventCarriesAReachedRevision(t *testing.T) {
	run(t, 1, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		var intent subjects.Revision
		at, _, err := replicas[0].Write(t.Context(), key, "w1", func(ctx context.Context, revision subjects.Revision) (coherence.Commit, error) {
			intent = revision
			return stored(ctx, revision)
		})
		if err != nil {
			t.Fatal(err)
		}
		entries := log.Entries()
		event := entries[len(entries)-1]
		if event.Revision != intent || intent.IsZero() || intent.Compare(at) >= 0 {
			t.Errorf("event has revision %s, the intent %s, the reply %s", event.Revision, intent, at)
		}
		if event.Kind != subjects.EventStored || event.Target != key || event.WriteID != "w1" || event.Version != "v2" || event.At.IsZero() || event.Replica != "r0" {
			t.Errorf("event is %+v", event)
		}
	})
}

// Stream deleted and recreated: nothing is trusted, and nothing is cached until
// every write that the old stream may have announced is over.
func TestStreamRecreated(t *testing.T) {
	run(t, 1, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		before := mustToken(t, r, key)
		log.Recreate()
		time.Sleep(time.Second) // until it is followed again
		if !r.cache.saw("all") {
			t.Error("the cache was not cleared")
		}
		if _, ok := r.Token(key, subjects.Revision{}); ok {
			t.Error("a key is cached though an intent may have been missed")
		}
		time.Sleep(hold)
		mustToken(t, r, key)
		if fills(r, key, before) {
			t.Error("a token from the old stream fills")
		}
	})
}

// No write may outlast the holds of the others.
func TestWriteEndsBeforeItsHold(t *testing.T) {
	run(t, 1, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		begun := time.Now()
		_, _, err := replicas[0].Write(t.Context(), key, "w1", func(ctx context.Context, _ subjects.Revision) (coherence.Commit, error) {
			<-ctx.Done()
			return coherence.Commit{Kind: coherence.Unknown}, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > hold {
			t.Errorf("a commit ended with %v after %s, the hold is %s", err, time.Since(begun), hold)
		}
	})
}

func TestAwait(t *testing.T) {
	run(t, 1, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Hold("r0")
		at, err := replicas[0].Flush(t.Context(), subjects.Target{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := replicas[0].Await(ctx, at); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Await of a revision that was not applied: %v", err)
		}
		log.Release()
		if err := replicas[0].Await(t.Context(), at); err != nil {
			t.Error(err)
		}
	})
}

// Holds are forgotten even if their keys are never read again.
func TestHoldsAreForgotten(t *testing.T) {
	run(t, 1, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		for i := range 1000 {
			id := subjects.ID("k" + string(rune('a'+i%26)) + time.Duration(i).String())
			intent := &subjects.Event{Kind: coherence.Intent, Target: subjects.Target{Scope: "org:acme", ID: id}, WriteID: "w"}
			if _, err := log.Append(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(hold / 4)
		}
		if n := replicas[0].Holds(); n > 16 {
			t.Errorf("%d keys are held, of which 4 or 5 are within their time", n)
		}
	})
}
