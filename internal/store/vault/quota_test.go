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

// quotaBed is a mount of its own, with a quota of so many requests a second.
func quotaBed(t *testing.T, rate int) vault.Config {
	t.Helper()
	b := sharedBed(t)
	mount := unique("quota")
	b.write(t, "sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	config := b.config(t)
	config.Mount, config.Token = mount, b.Fact("token")
	s := open(t, config)
	eventually(t, "the mount takes writes", func() bool {
		_, err := s.Put(t.Context(), newRecord("org:acme", "key", "w1"), store.Precondition{})
		return err == nil
	})
	b.write(t, "sys/quotas/rate-limit/"+mount, map[string]any{"path": mount + "/", "rate": rate})
	t.Cleanup(func() { b.root.Logical().DeleteWithContext(context.Background(), "sys/quotas/rate-limit/"+mount) })
	return config
}

// A quota is used, not fought: of what it allows nearly all is served, while more
// callers want more than it allows, and the breaker stays closed.
func TestQuotaIsPacedTo(t *testing.T) {
	const allowed, callers, enough = 20, 30, 120
	var opened atomic.Int64
	s := policy.New(open(t, quotaBed(t, allowed)), policy.Config{
		Retries: 5, BreakerFailures: 10, Changed: func(policy.Change) { opened.Add(1) },
	})
	key := newRecord("org:acme", "key", "").Key
	best := 0.0
	for range 3 { // a machine that stalls serves less than it is allowed
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
		// What the first window allows at once, before its time has passed, is left out.
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

// Lack of room is a refusal of the write, and no fault of a read.
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
			t.Errorf("no room is no outage: %v", err)
		}
		if rec := get(t, s, newRecord("org:acme", "key", "").Key); rec.WriteID != "w1" {
			t.Errorf("what was there is %s", rec.WriteID)
		}
		p.set(full)
		if _, err := s.Get(t.Context(), newRecord("org:acme", "key", "").Key); errors.Is(err, store.ErrFull) {
			t.Errorf("a read needs no room: %v", err)
		}
	}
}
