package policy_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/policy"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{Open: func(*testing.T) store.Store {
		return policy.New(memory.New(), policy.Config{Retries: 5, BreakerFailures: 10})
	}})
}

// native is a driver that wants values in clear.
type native struct{ *memory.Store }

func (native) Native(subjects.Scope) bool { return true }

// The policy reports that its driver is native, and passes values on. They are the
// driver's only during the call.
func TestNativeConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(*testing.T) store.Store {
			return policy.New(native{memory.New()}, policy.Config{Retries: 5, BreakerFailures: 10})
		},
		Features: storetest.Features{Native: true},
	})
}

var key = subjects.Target{Scope: "org:acme", ID: "db"}

// failing fails its first calls and counts all.
type failing struct {
	store.Store
	err   error
	fails int
	calls int
	lands bool // a failed Delete still takes effect
}

func (f *failing) Get(context.Context, subjects.Target) (*store.Record, error) {
	return &store.Record{Target: key}, f.fail()
}

func (f *failing) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	if err := f.fail(); err != nil {
		if f.lands {
			_ = f.Store.Delete(ctx, key, pre)
		}
		return err
	}
	return f.Store.Delete(ctx, key, pre)
}

func (f *failing) fail() error {
	if f.calls++; f.calls <= f.fails {
		return f.err
	}
	return nil
}

func TestRetries(t *testing.T) {
	for name, c := range map[string]struct {
		err          error
		fails, calls int
		least, most  time.Duration
		ok           bool
	}{
		"no failure":     {nil, 0, 1, 0, 0, true},
		"once":           {store.ErrUnavailable, 1, 2, 75 * time.Millisecond, 125 * time.Millisecond, true},
		"five times":     {store.ErrTimeout, 5, 6, 31 * 75 * time.Millisecond, 31 * 125 * time.Millisecond, true},
		"six times":      {store.ErrUnavailable, 6, 6, 31 * 75 * time.Millisecond, 31 * 125 * time.Millisecond, false},
		"not found":      {store.ErrNotFound, 9, 1, 0, 0, false},
		"permission":     {store.ErrPermission, 9, 1, 0, 0, false},
		"damaged record": {store.ErrDamaged, 9, 1, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				f := &failing{err: fmt.Errorf("below: %w", c.err), fails: c.fails}
				s := policy.New(f, policy.Config{Retries: 5})
				begun := time.Now()
				record, err := s.Get(t.Context(), key)
				took := time.Since(begun)
				if f.calls != c.calls || took < c.least || took > c.most {
					t.Errorf("%d calls in %s, want %d in %s to %s", f.calls, took, c.calls, c.least, c.most)
				}
				if c.ok != (err == nil && record != nil) || !c.ok && !errors.Is(err, c.err) {
					t.Errorf("got %v, %v", record, err)
				}
			})
		})
	}
}

func TestDeadlineEndsTheRetries(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := &failing{err: store.ErrUnavailable, fails: 100}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := policy.New(f, policy.Config{Retries: 50}).Get(ctx, key)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, store.ErrUnavailable) ||
			time.Since(begun) > time.Second || time.Since(begun) < 900*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

// A delete that failed but took effect succeeds when it is tried again. A delete of a
// missing credential returns ErrNotFound.
func TestRetriedDelete(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := memory.New()
		if _, err := m.Put(t.Context(), &store.Record{Target: key, WriteID: "w", Metadata: subjects.Metadata{}}, store.Precondition{}); err != nil {
			t.Fatal(err)
		}
		f := &failing{Store: m, err: store.ErrTimeout, fails: 1, lands: true}
		s := policy.New(f, policy.Config{Retries: 5})
		if err := s.Delete(t.Context(), key, store.Precondition{}); err != nil {
			t.Error(err)
		}
		if err := s.Delete(t.Context(), key, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleting a missing credential: %v", err)
		}
	})
}

func (f *failing) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if err := f.fail(); err != nil {
		return "", err
	}
	return f.Store.Put(ctx, rec, pre)
}

// A failed write may have landed, and another write may have replaced it. If the next
// try is refused, the error must have both reasons.
func TestRefusedAfterAFailedTry(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := memory.New()
		if _, err := m.Put(t.Context(), &store.Record{Target: key, WriteID: "w"}, store.Precondition{}); err != nil {
			t.Fatal(err)
		}
		for fails, both := range map[int]bool{0: false, 1: true, 3: true} {
			s := policy.New(&failing{Store: m, err: store.ErrTimeout, fails: fails}, policy.Config{Retries: 5})
			_, err := s.Put(t.Context(), &store.Record{Target: key, WriteID: "w2"}, store.Precondition{Absent: true})
			if !errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrTimeout) != both {
				t.Errorf("put, %d failed tries: %v", fails, err)
			}
			s = policy.New(&failing{Store: m, err: store.ErrTimeout, fails: fails}, policy.Config{Retries: 5})
			err = s.Delete(t.Context(), key, store.Precondition{Version: "another"})
			if !errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrTimeout) != both {
				t.Errorf("delete, %d failed tries: %v", fails, err)
			}
		}
	})
}
