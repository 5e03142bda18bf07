package manager_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store/memory"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// slowLog answers late with an earlier end.
type slowLog struct {
	*coherencetest.Log
	asked   atomic.Int64
	latency time.Duration
}

func (l *slowLog) End(ctx context.Context) (subjects.Revision, error) {
	l.asked.Add(1)
	end, err := l.Log.End(ctx)
	select {
	case <-time.After(l.latency):
		return end, err
	case <-ctx.Done():
		return subjects.Revision{}, ctx.Err()
	}
}

// newSlowBed runs a manager whose replica asks a slow log.
func newSlowBed(t *testing.T, latency time.Duration) (*bed, *slowLog) {
	log := &slowLog{Log: coherencetest.NewLog(), latency: latency}
	b := newBed(t, memory.New(), log.Log, func(c *manager.Config) {
		c.Cache, c.Replica = nil, coherence.NewReplica(log, c.Cache, coherence.Config{})
	})
	return b, log
}

// Joining a query that began too early: the returned end must cover everything
// in the log before the read of the store. Callers that arrive meanwhile share
// the next query.
func TestEndIsAskedLateEnough(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b, log := newSlowBed(t, 300*time.Millisecond)
		item := subjects.RetrieveItem{Target: target("org:acme", "none")}
		var group sync.WaitGroup
		const callers = 50
		for range callers {
			at, err := log.Append(t.Context(), &subjects.Event{Kind: coherence.Intent, Target: item.Target})
			if err != nil {
				t.Fatal(err)
			}
			group.Go(func() {
				_, err := b.retrieve(t.Context(), item, subjects.Revision{})
				if told(err) != subjects.NotFound || revisionOf(err).Compare(at) < 0 {
					t.Errorf("%v with revision %q, but %s was in the log before the read", err, revisionOf(err), at)
				}
			})
			synctest.Wait()
		}
		group.Wait()
		if n := log.asked.Load(); n != 2 {
			t.Errorf("%d concurrent callers made %d queries, want 2", callers, n)
		}
	})
}

// Without the log, an answer that a credential is missing must wait until no
// other replica can still have it in a trusted cache.
func TestLogThatDoesNotAnswer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b, _ := newSlowBed(t, time.Hour)
		begun := time.Now()
		_, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: target("org:acme", "none")}, subjects.Revision{})
		if told(err) != subjects.NotFound || time.Since(begun) != coherence.DefaultLease {
			t.Errorf("%v after %s, want not_found after a lease", err, time.Since(begun))
		}
	})
}
