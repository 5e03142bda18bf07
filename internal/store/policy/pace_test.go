package policy_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/policy"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// limited is a store with a quota for each second, like those of Vault.
type limited struct {
	store.Store
	mu     sync.Mutex
	rate   int
	after  time.Duration // Retry-After
	window time.Time
	used   int
	tries  int
}

func (l *limited) Get(context.Context, subjects.Target) (*store.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tries++
	if now := time.Now().Truncate(time.Second); !now.Equal(l.window) {
		l.window, l.used = now, 0
	}
	if l.used++; l.used > l.rate {
		return nil, store.Throttled(fmt.Errorf("%w: quota", store.ErrThrottled), l.after)
	}
	return new(store.Record), nil
}

func (l *limited) Put(context.Context, *store.Record, store.Precondition) (string, error) {
	l.tries++
	return "", store.ErrFull
}

// While callers want more than the quota, at least 80 % of it is used, whether or not
// the server sends Retry-After (40 % if that is 2 s). No breaker opens.
func TestQuotaIsUsed(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 2 * time.Second} {
		bubble.Test(t, func(t *testing.T) {
			const rate, wanted, seconds = 20, 30, 20
			driver := &limited{Store: memory.New(), rate: rate, after: after}
			opened := 0
			var served, failed int
			s := policy.New(driver, policy.Config{Retries: 5, BreakerFailures: 3, Changed: func(policy.Change) { opened++ }})
			done := make(chan error)
			begun := time.Now()
			go func() {
				for range wanted * seconds {
					go func() { _, err := s.Get(context.Background(), key); done <- err }()
					time.Sleep(time.Second / wanted)
				}
			}()
			for range wanted * seconds {
				switch err := <-done; {
				case err == nil:
					served++
				case errors.Is(err, store.ErrThrottled):
					failed++
				default:
					t.Error(err)
				}
			}
			took := time.Since(begun).Seconds()
			t.Logf("retry-after=%s allowed=%d/s served=%.1f/s failed=%d tries=%d", after, rate, float64(served)/took, failed, driver.tries)
			least := 0.8
			if after > time.Second {
				least = 0.4 // Retry-After forbids calls in every other second
			}
			if float64(served)/took < least*rate || opened > 0 {
				t.Errorf("retry-after=%s allowed=%d/s served=%.1f/s, the breaker changed %d times", after, rate, float64(served)/took, opened)
			}
		})
	}
}

// A call that cannot wait for the end of the pause is refused at once, and does not
// reach the store.
func TestPauseLongerThanACall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		driver := &limited{Store: memory.New(), after: time.Hour}
		s := policy.New(driver, policy.Config{Retries: 5, BreakerFailures: 3})
		for range 10 {
			begun := time.Now()
			_, err := s.Get(t.Context(), key)
			if !errors.Is(err, store.ErrThrottled) || !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("refused after %s", took)
			}
		}
		tries := driver.tries
		time.Sleep(30 * time.Second) // the policy does not believe in an hour
		driver.rate = 1
		if _, err := s.Get(t.Context(), key); err != nil || driver.tries != tries+1 || tries > 2 {
			t.Errorf("%v after %d tries, and %d", err, tries, driver.tries)
		}
	})
}

// A write without room is not repeated, and does not count for the breaker.
func TestFullStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		driver := &limited{Store: memory.New(), rate: 1000}
		s := policy.New(driver, policy.Config{Retries: 5, BreakerFailures: 3})
		for range 20 {
			if _, err := s.Put(t.Context(), &store.Record{Target: key, WriteID: "w"}, store.Precondition{}); !errors.Is(err, store.ErrFull) || unknownTo(err) {
				t.Error(err)
			}
		}
		if driver.tries != 20 {
			t.Errorf("%d tries of 20 writes", driver.tries)
		}
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Errorf("a read after the refused writes: %v", err)
		}
	})
}
