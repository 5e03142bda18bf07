package vault_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/policy"
	"credbus/internal/store/vault"
)

// quotaBed makes a mount with a quota of rate requests per second.
func quotaBed(t *testing.T, rate int) vault.Config {
	t.Helper()
	b := sharedBed(t)
	mount := unique("quota")
	b.write(t, "sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	config := b.config(t)
	config.Mount, config.Token = mount, b.Fact("token")
	s := open(t, config)
	eventually(t, "the mount accepts writes", func() bool {
		_, err := s.Put(t.Context(), newRecord("org:acme", "key", "w1"), store.Precondition{})
		return err == nil
	})
	b.write(t, "sys/quotas/rate-limit/"+mount, map[string]any{"path": mount + "/", "rate": rate})
	t.Cleanup(func() { b.root.Logical().DeleteWithContext(context.Background(), "sys/quotas/rate-limit/"+mount) })
	return config
}

// While callers want more than the quota allows, at least 80 % of it is used, and the
// breaker stays closed.
func TestQuotaIsPacedTo(t *testing.T) {
	const allowed, callers, enough = 20, 30, 120
	var opened atomic.Int64
	s := policy.New(open(t, quotaBed(t, allowed)), policy.Config{
		Retries: 5, BreakerFailures: 10, Changed: func(policy.Change) { opened.Add(1) },
	})
	key := newRecord("org:acme", "key", "").Target
	best := 0.0
	for range 3 { // a machine that stalls uses less of the quota
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
		var served atomic.Int64
		var callersDone sync.WaitGroup
		begun := time.Now()
		for range callers {
			callersDone.Go(func() {
				for ctx.Err() == nil {
					_, err := s.Get(ctx, key)
					switch {
					case err == nil && served.Add(1) == enough:
						stop()
					case err != nil && !errors.Is(err, store.ErrThrottled) && ctx.Err() == nil:
						t.Error(err)
						stop()
					}
				}
			})
		}
		callersDone.Wait()
		stop()
		// Leave out the requests that the first window allows at once.
		rate := float64(served.Load()-allowed) / time.Since(begun).Seconds()
		t.Logf("allowed=%d/s served=%.1f/s", allowed, rate)
		if best = max(best, rate); best >= 0.8*allowed {
			break
		}
	}
	if best < 0.8*allowed {
		t.Errorf("allowed=%d/s served=%.1f/s", allowed, best)
	}
	if n := opened.Load(); n > 0 {
		t.Errorf("the breaker changed %d times", n)
	}
}

// A full storage makes a write fail with ErrFull, but never a read.
func TestStorageIsFull(t *testing.T) {
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.config(t)
	config.Address = p.URL
	s := open(t, config)
	put(t, s, newRecord("org:acme", "key", "w1"))
	for _, said := range []string{
		`{"errors":["write /vault/data: no space left on device"]}`,
		`{"errors":["1 error occurred:\n\t* etcdserver: mvcc: database space exceeded"]}`,
	} {
		full := answers(http.StatusInternalServerError, said)
		p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodGet {
				next.ServeHTTP(w, r)
				return
			}
			full(w, r, next)
		})
		_, err := s.Put(t.Context(), newRecord("org:acme", "key", "w2"), store.Precondition{})
		says(t, err, store.ErrFull, "make room")
		if errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a full storage is not an outage: %v", err)
		}
		if rec := get(t, s, newRecord("org:acme", "key", "").Target); rec.WriteID != "w1" {
			t.Errorf("the record is of write %s, want w1", rec.WriteID)
		}
		p.set(full)
		if _, err := s.Get(t.Context(), newRecord("org:acme", "key", "").Target); errors.Is(err, store.ErrFull) {
			t.Errorf("a read needs no room: %v", err)
		}
	}
}
