package policy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/policy"
	"credbus/internal/store/storetest"
)

// breaking opens after three tries, without retries in between.
var breaking = policy.Config{BreakerFailures: 3, BreakerDelay: 5 * time.Second}

func (b *bed) states() (states []policy.State) {
	for _, change := range b.changes() {
		states = append(states, change.State)
	}
	return states
}

func (b *bed) changed(want ...policy.State) {
	b.t.Helper()
	if got := b.states(); !slices.Equal(got, want) {
		b.t.Errorf("states: %v, want %v", got, want)
	}
}

// open makes the breaker open.
func (b *bed) open() {
	b.t.Helper()
	b.faults.Set(storetest.Get, storetest.Fault{Err: fmt.Errorf("%w: no route", store.ErrUnavailable)})
	for range 3 {
		if _, err := b.get(time.Second); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOpen) {
			b.t.Errorf("before the breaker opens: %v", err)
		}
	}
	b.changed(policy.Open)
}

func (b *bed) refused(calls int) {
	b.t.Helper()
	took, err := b.get(time.Second)
	if !errors.Is(err, store.ErrOpen) || !errors.Is(err, store.ErrUnavailable) || took != 0 {
		b.t.Errorf("with an open breaker: %v after %s", err, took)
	}
	if _, err := b.List(b.t.Context(), store.ListOptions{Limit: 10}); !errors.Is(err, store.ErrOpen) {
		b.t.Errorf("a list with an open breaker: %v", err)
	}
	b.calls(storetest.Get, calls)
	b.calls(storetest.List, 0)
}

// The breaker also opens for a store that hangs and gets so few calls that few fail.
// It does not open for a store that fails now and then.
func TestSeldomAsked(t *testing.T) {
	inBubble(t, policy.Config{Retries: 5, BreakerFailures: 10}, func(b *bed) {
		b.faults.Set(storetest.Get, storetest.Fault{Hang: true})
		for range 3 {
			_, _ = b.get(5 * time.Second)
		}
		b.changed() // 3 failures in 9.8 s
		b.faults.Set(storetest.Get, storetest.Fault{})
		_, _ = b.get(time.Second)
		time.Sleep(time.Minute)
		b.faults.Set(storetest.Get, storetest.Fault{Hang: true})
		_, _ = b.get(5 * time.Second)
		b.changed()
		time.Sleep(time.Minute)
		_, _ = b.get(5 * time.Second)
		b.changed(policy.Open)
		if _, err := b.get(time.Second); !errors.Is(err, store.ErrOpen) || !strings.Contains(err.Error(), "2 calls in a row") {
			b.t.Errorf("%v", err)
		}
	})
}

func TestBreaker(t *testing.T) {
	inBubble(t, breaking, func(b *bed) {
		begun := time.Now()
		b.open()
		opened := b.changes()[0]
		if opened.Since != begun || opened.Probe != begun.Add(5*time.Second) || opened.Err == nil || !strings.Contains(opened.Err.Error(), "no route") {
			t.Errorf("opened: %+v", opened)
		}
		_, err := b.get(time.Second)
		for _, said := range []string{"open since 2000-01-01T00:00:00.000Z", "may pass at 2000-01-01T00:00:05.000Z", "3 calls in a row", "log"} {
			if !strings.Contains(err.Error(), said) {
				t.Errorf("error without %q: %v", said, err)
			}
		}
		time.Sleep(5*time.Second - 1)
		b.refused(3)
		b.changed(policy.Open)

		time.Sleep(time.Nanosecond)
		if _, err := b.get(time.Second); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOpen) {
			t.Errorf("the probe: %v", err)
		}
		b.changed(policy.Open, policy.HalfOpen, policy.Open)
		b.refused(4)

		b.faults.Set(storetest.Get, storetest.Fault{})
		time.Sleep(5 * time.Second)
		for range 3 {
			if _, err := b.get(time.Second); err != nil {
				t.Error(err)
			}
		}
		b.changed(policy.Open, policy.HalfOpen, policy.Open, policy.HalfOpen, policy.Closed)
		for _, change := range b.changes() {
			if change.Since != begun {
				t.Errorf("%s since %s, the first failure was at %s", change.State, change.Since, begun)
			}
			if (change.State == policy.Open) != (change.Err != nil && !change.Probe.IsZero()) {
				t.Errorf("change %+v", change)
			}
		}
	})
}

// An error from a reachable store does not count as a failure. It ends a row of
// failures.
func TestBreakerCountsTransientFailuresOnly(t *testing.T) {
	for _, permanent := range []error{store.ErrPermission, store.ErrNotFound, store.ErrConflict, store.ErrDamaged, store.ErrClosed, errors.New("unknown")} {
		inBubble(t, breaking, func(b *bed) {
			b.faults.Set(storetest.Get, storetest.Fault{Err: permanent})
			for range 20 {
				if _, err := b.get(time.Second); !errors.Is(err, permanent) {
					t.Errorf("%v, want %v", err, permanent)
				}
			}
			b.calls(storetest.Get, 20)
			b.changed()
		})
	}
}

func TestBreakerOfAFlappingStore(t *testing.T) {
	inBubble(t, breaking, func(b *bed) {
		for range 20 {
			b.faults.Set(storetest.Get, storetest.Fault{Err: store.ErrTimeout, Calls: 2})
			for range 3 {
				_, _ = b.get(time.Second)
			}
		}
		b.changed()
		b.calls(storetest.Get, 60)
	})
}

// Reads and writes have a breaker each: failing writes do not stop reads, and failing
// reads do not stop writes.
func TestReadsAndWritesApart(t *testing.T) {
	last := func(b *bed) policy.Change { changes := b.changes(); return changes[len(changes)-1] }
	inBubble(t, breaking, func(b *bed) {
		b.faults.Set(storetest.Put, storetest.Fault{Hang: true})
		b.faults.Set(storetest.Delete, storetest.Fault{Err: fmt.Errorf("%w: it is read-only", store.ErrUnavailable)})
		var writes sync.WaitGroup
		for i := range 20 {
			writes.Go(func() { _, _ = b.put(fmt.Sprint(i), time.Minute) })
		}
		for range 20 {
			if took, err := b.get(time.Second); err != nil || took != 0 {
				t.Errorf("a read beside failing writes: %v after %s", err, took)
			}
			time.Sleep(time.Second)
		}
		writes.Wait()
		b.faults.Set(storetest.Put, storetest.Fault{Err: store.ErrUnavailable})
		_, err := b.put("w1", time.Second)
		if !errors.Is(err, store.ErrUnavailable) {
			t.Error(err)
		}
		if err = b.Delete(b.t.Context(), key, store.Precondition{}); !errors.Is(err, store.ErrOpen) || !strings.Contains(err.Error(), "the breaker of writes") {
			t.Errorf("a delete behind an open breaker of writes: %v", err)
		}
		if change := last(b); change.Calls != policy.Writes || change.State != policy.Open || change.Other != policy.Closed {
			t.Errorf("%+v", change)
		}
		if _, err := b.get(time.Second); err != nil {
			t.Errorf("a read beside writes that are refused: %v", err)
		}
		b.faults.Set(storetest.Put, storetest.Fault{})
		time.Sleep(5 * time.Second)
		if _, err := b.put("w2", time.Second); err != nil {
			t.Errorf("the probe of writes: %v", err)
		}
		if change := last(b); change.Calls != policy.Writes || change.State != policy.Closed {
			t.Errorf("%+v", change)
		}
	})
	inBubble(t, breaking, func(b *bed) {
		b.open()
		if change := last(b); change.Calls != policy.Reads || change.Other != policy.Closed {
			t.Errorf("%+v", change)
		}
		if took, err := b.put("w1", time.Second); err != nil || took != 0 {
			t.Errorf("a write beside reads that are refused: %v after %s", err, took)
		}
		b.refused(3)
	})
}

// When reads work again the outage is over: no write needs to probe first, and one
// Change reports both.
func TestWritesComeBackWithReads(t *testing.T) {
	inBubble(t, breaking, func(b *bed) {
		b.open()
		b.faults.Set(storetest.Put, storetest.Fault{Err: store.ErrUnavailable})
		for range 3 {
			_, _ = b.put("w1", time.Second)
		}
		if took, err := b.put("w1", time.Second); !errors.Is(err, store.ErrOpen) || took != 0 {
			t.Errorf("%v after %s", err, took)
		}
		b.changed(policy.Open, policy.Open)
		if second := b.changes()[1]; second.Calls != policy.Writes || second.Other != policy.Open {
			t.Errorf("%+v", second)
		}
		b.faults.Set(storetest.Put, storetest.Fault{})
		b.faults.Set(storetest.Get, storetest.Fault{})
		time.Sleep(5*time.Second + 1)
		if _, err := b.get(time.Second); err != nil {
			t.Error(err)
		}
		b.changed(policy.Open, policy.Open, policy.HalfOpen, policy.Closed)
		if back := b.changes()[3]; back.Calls != policy.Reads || back.Other != policy.Closed {
			t.Errorf("%+v", back)
		}
		b.faults.Set(storetest.Put, storetest.Fault{Latency: 500 * time.Millisecond})
		var writes sync.WaitGroup
		for i := range 5 {
			writes.Go(func() {
				if _, err := b.put(fmt.Sprint(i), time.Second); err != nil {
					t.Errorf("a write after the outage: %v", err)
				}
			})
		}
		writes.Wait()
		b.faults.Set(storetest.Put, storetest.Fault{Err: store.ErrUnavailable})
		for range 3 {
			_, _ = b.put("w2", time.Second)
		}
		b.changed(policy.Open, policy.Open, policy.HalfOpen, policy.Closed, policy.Open)
	})
}

func TestBreakerOff(t *testing.T) {
	inBubble(t, policy.Config{}, func(b *bed) {
		b.faults.Set(storetest.Get, storetest.Fault{Err: store.ErrTimeout})
		for range 100 {
			_, _ = b.get(time.Second)
		}
		b.calls(storetest.Get, 100)
	})
}

// A store that hangs opens the breaker when tries reach their time limit. Callers that
// leave earlier do not count: they prove nothing about the store.
func TestBreakerOfAHangingStore(t *testing.T) {
	inBubble(t, breaking, func(b *bed) {
		b.faults.Set(storetest.Get, storetest.Fault{Hang: true})
		for range 20 {
			if _, err := b.get(time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		for range 20 { // the driver returns another error for it
			until := make(chan struct{})
			time.AfterFunc(950*time.Millisecond, func() { close(until) })
			b.faults.Set(storetest.Get, storetest.Fault{Until: until, Err: store.ErrTimeout})
			if _, err := b.get(time.Second); !errors.Is(err, store.ErrTimeout) {
				t.Error(err)
			}
		}
		b.changed()
		b.faults.Set(storetest.Get, storetest.Fault{Hang: true})
		for range 3 {
			if took, err := b.get(5 * time.Second); !errors.Is(err, store.ErrTimeout) || took > 5*time.Second {
				t.Errorf("%v after %s", err, took)
			}
		}
		b.changed(policy.Open)
		b.refused(43)
	})
}

func TestProbe(t *testing.T) {
	t.Run("one at once", func(t *testing.T) {
		inBubble(t, breaking, func(b *bed) {
			b.open()
			time.Sleep(5 * time.Second)
			b.faults.Set(storetest.Get, storetest.Fault{Latency: time.Second})
			var calls sync.WaitGroup
			calls.Go(func() {
				if _, err := b.get(5 * time.Second); err != nil {
					t.Errorf("the probe: %v", err)
				}
			})
			synctest.Wait()
			b.refused(4)
			if _, err := b.get(time.Second); err == nil || !strings.Contains(err.Error(), "a probe is running") {
				t.Error(err)
			}
			calls.Wait()
			if _, err := b.get(5 * time.Second); err != nil {
				t.Errorf("after the probe: %v", err)
			}
		})
	})
	// If the caller of the probe leaves, the next call is the probe. It is not
	// logged again.
	t.Run("a caller that leaves", func(t *testing.T) {
		inBubble(t, breaking, func(b *bed) {
			b.open()
			time.Sleep(5 * time.Second)
			b.faults.Set(storetest.Get, storetest.Fault{Hang: true, Calls: 2})
			for range 2 {
				if _, err := b.get(time.Second); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
			b.changed(policy.Open, policy.HalfOpen)
			if _, err := b.get(time.Second); err != nil {
				t.Error(err)
			}
			b.changed(policy.Open, policy.HalfOpen, policy.Closed)
			b.openAgain(3)
		})
	})
	// The result of a try that began before the breaker opened is outdated.
	t.Run("beside an older call", func(t *testing.T) {
		patient := breaking
		patient.ReadTimeout = time.Minute
		inBubble(t, patient, func(b *bed) {
			var calls sync.WaitGroup
			older := func(fault storetest.Fault) {
				fault.Calls = 1
				b.faults.Set(storetest.Get, fault)
				calls.Go(func() {
					if _, err := b.get(time.Minute); !errors.Is(err, fault.Err) {
						t.Errorf("%v, want %v", err, fault.Err)
					}
				})
				synctest.Wait()
			}
			older(storetest.Fault{Latency: 4 * time.Second, Err: store.ErrNotFound}) // ends while the breaker is open
			older(storetest.Fault{Latency: 6 * time.Second, Err: store.ErrTimeout})  // ends while it is half-open
			b.open()
			time.Sleep(5 * time.Second)
			b.changed(policy.Open)
			older(storetest.Fault{Latency: 2 * time.Second}) // the probe
			time.Sleep(1500 * time.Millisecond)
			b.changed(policy.Open, policy.HalfOpen)
			calls.Wait()
			b.changed(policy.Open, policy.HalfOpen, policy.Closed)
		})
	})
}

// openAgain makes the breaker open once more. That must take so many failures.
func (b *bed) openAgain(failures int) {
	b.t.Helper()
	before := len(b.changes())
	b.faults.Set(storetest.Get, storetest.Fault{Err: store.ErrTimeout})
	for range failures {
		if len(b.changes()) != before {
			b.t.Errorf("the breaker opened too early: %v", b.states())
		}
		_, _ = b.get(time.Second)
	}
	if len(b.changes()) != before+1 {
		b.t.Errorf("states after %d more failures: %v", failures, b.states())
	}
}

// If the breaker opens between the tries of a write, the error must not be ErrOpen: an
// earlier try may have landed.
func TestBreakerOpensDuringRetries(t *testing.T) {
	inBubble(t, policy.Config{Retries: 5, BreakerFailures: 3}, func(b *bed) {
		b.faults.Set(storetest.Put, storetest.Fault{Err: store.ErrTimeout, Applied: true})
		took, err := b.put("w1", 10*time.Second)
		if !errors.Is(err, store.ErrTimeout) || errors.Is(err, store.ErrOpen) || !strings.Contains(err.Error(), "not tried again") {
			t.Error(err)
		}
		b.within("the call", took, 7*75*time.Millisecond, 7*125*time.Millisecond) // two pauses, and the third after which the breaker is open
		b.calls(storetest.Put, 3)
		b.changed(policy.Open)
		if took, err := b.put("w2", 10*time.Second); !errors.Is(err, store.ErrOpen) || took != 0 {
			t.Errorf("the next write: %v after %s", err, took)
		}
		b.calls(storetest.Put, 3)
	})
}

func TestClosedBehindAnOpenBreaker(t *testing.T) {
	inBubble(t, breaking, func(b *bed) {
		b.open()
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := b.get(time.Second); !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	})
}

// Many callers use a store that fails now and then. Every call ends within its time,
// and each change of a breaker follows from the state before.
func TestConcurrentCalls(t *testing.T) {
	inBubble(t, policy.Config{Retries: 2, BreakerFailures: 5, BreakerDelay: 300 * time.Millisecond}, func(b *bed) {
		var calls sync.WaitGroup
		for i := range 30 {
			calls.Go(func() {
				for n := range 100 {
					var took time.Duration
					var err error
					if i%3 == 0 {
						took, err = b.put(fmt.Sprint(i, "-", n), 2*time.Second)
					} else {
						took, err = b.get(2 * time.Second)
					}
					if took > 2*time.Second {
						t.Errorf("a call took %s: %v", took, err)
					}
					time.Sleep(time.Duration(i) * time.Millisecond)
				}
			})
		}
		calls.Go(func() {
			for n := range 20 {
				for _, op := range []storetest.Operation{storetest.Get, storetest.Put} {
					b.faults.Set(op, []storetest.Fault{{Err: store.ErrUnavailable}, {Hang: true}, {}}[n%3])
				}
				time.Sleep(500 * time.Millisecond)
			}
			for _, op := range []storetest.Operation{storetest.Get, storetest.Put} {
				b.faults.Set(op, storetest.Fault{})
			}
		})
		calls.Wait()
		time.Sleep(time.Second)
		if _, err := b.get(5 * time.Second); err != nil {
			t.Errorf("a call after the last fault: %v", err)
		}
		last := map[policy.Calls]policy.State{policy.Reads: policy.Closed, policy.Writes: policy.Closed}
		for _, change := range b.changes() {
			if from := map[policy.State][]policy.State{
				policy.Open: {policy.Closed, policy.HalfOpen}, policy.HalfOpen: {policy.Open}, policy.Closed: {policy.HalfOpen},
			}[change.State]; !slices.Contains(from, last[change.Calls]) {
				t.Fatalf("%s after %s", change.State, last[change.Calls])
			}
			last[change.Calls] = change.State
			if change.Calls == policy.Reads && change.State == policy.Closed {
				last[policy.Writes] = policy.Closed
			}
			if other := map[policy.Calls]policy.Calls{policy.Reads: policy.Writes, policy.Writes: policy.Reads}[change.Calls]; change.Other != last[other] {
				t.Fatalf("%+v, and %s are %s", change, other, last[other])
			}
		}
		if last[policy.Reads] != policy.Closed || len(b.changes()) < 3 {
			t.Errorf("states: %v", b.states())
		}
	})
}

// BenchmarkGet measures the policy's cost for a read without a fault, beside
// the store without it.
func BenchmarkGet(b *testing.B) {
	m := memory.New()
	if _, err := m.Put(b.Context(), newRecord("w"), store.Precondition{}); err != nil {
		b.Fatal(err)
	}
	for _, s := range []struct {
		name string
		store.Store
	}{{"memory", m}, {"policy", policy.New(m, policy.Config{Retries: 5, BreakerFailures: 10})}} {
		b.Run(s.name, func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour) // with a deadline, like the manager's
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(ctx, key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
