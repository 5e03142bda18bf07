package storetest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// Without a fault the wrapper behaves like the store that it wraps.
func TestFaultsConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(*testing.T) store.Store { return storetest.NewFaults(memory.New()) },
	})
}

func TestFaults(t *testing.T) {
	key := subjects.Target{Scope: "org:acme", ID: "key"}
	rec := &store.Record{Target: key, WriteID: "w1"}
	failure := errors.New("the disk is on fire")

	bubble := func(name string, test func(t *testing.T, f *storetest.Faults)) {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { test(t, storetest.NewFaults(memory.New())) })
		})
	}
	bubble("latency", func(t *testing.T, f *storetest.Faults) {
		f.Set(storetest.Get, storetest.Fault{Latency: 50 * time.Millisecond})
		start := time.Now()
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() { f.Get(t.Context(), key) })
		}
		calls.Wait()
		if took := time.Since(start); took != 50*time.Millisecond {
			t.Errorf("three calls side by side took %v", took)
		}
		if calls, most := f.Calls(storetest.Get), f.MostAtOnce(storetest.Get); calls != 3 || most != 3 {
			t.Errorf("%d calls, at most %d at once; want 3 and 3", calls, most)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		start = time.Now()
		if _, err := f.Get(ctx, key); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 20*time.Millisecond {
			t.Errorf("a deadline within the latency: %v after %v", err, time.Since(start))
		}
	})
	bubble("hang", func(t *testing.T, f *storetest.Faults) {
		f.Set(storetest.Put, storetest.Fault{Hang: true, Calls: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Put(ctx, rec, store.Precondition{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hanging Put: %v", err)
		}
		if _, err := f.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the hanging Put took effect: %v", err)
		}
		if _, err := f.Put(t.Context(), rec, store.Precondition{}); err != nil {
			t.Errorf("Put after the fault's only call: %v", err)
		}
	})
	bubble("deaf", func(t *testing.T, f *storetest.Faults) {
		until := make(chan struct{})
		f.Set(storetest.Put, storetest.Fault{Until: until})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		time.AfterFunc(time.Minute, func() { close(until) })
		start := time.Now()
		if _, err := f.Put(ctx, rec, store.Precondition{}); err != nil || time.Since(start) != time.Minute {
			t.Errorf("a Put that ignores its context: %v after %v", err, time.Since(start))
		}
		if _, err := f.Get(t.Context(), key); err != nil {
			t.Errorf("the Put did not take effect: %v", err)
		}
	})
	bubble("error", func(t *testing.T, f *storetest.Faults) {
		f.Set(storetest.Delete, storetest.Fault{Err: failure, Calls: 2})
		for range 2 {
			if err := f.Delete(t.Context(), key, store.Precondition{}); !errors.Is(err, failure) {
				t.Errorf("Delete: %v", err)
			}
		}
		if err := f.Delete(t.Context(), key, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Delete after the fault: %v", err)
		}
	})
	bubble("lost answer", func(t *testing.T, f *storetest.Faults) {
		f.Set(storetest.Put, storetest.Fault{Err: failure, Applied: true})
		if version, err := f.Put(t.Context(), rec, store.Precondition{}); !errors.Is(err, failure) || version != "" {
			t.Errorf("Put = %q, %v", version, err)
		}
		if _, err := f.Get(t.Context(), key); err != nil {
			t.Errorf("the write whose answer was lost: %v", err)
		}
	})
}
