package policy_test

import (
	"bytes"
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
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// bed is a memory store with a credential and with faults, behind a policy, in
// synthetic time.
type bed struct {
	*policy.Store
	t      *testing.T
	faults *storetest.Faults

	mu   sync.Mutex
	told []policy.Change
}

func (b *bed) changes() []policy.Change {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.told)
}

func inBubble(t *testing.T, config policy.Config, test func(b *bed)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		m := memory.New()
		if _, err := m.Put(t.Context(), newRecord("w0"), store.Precondition{}); err != nil {
			t.Fatal(err)
		}
		b := &bed{t: t, faults: storetest.NewFaults(m)}
		config.Changed = func(change policy.Change) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.told = append(b.told, change)
		}
		b.Store = policy.New(b.faults, config)
		test(b)
	})
}

func newRecord(write string) *store.Record {
	return &store.Record{Target: key, WriteID: write, Payload: []byte(write), Metadata: subjects.Metadata{}}
}

// get is a Get by a caller that waits for the given time.
func (b *bed) get(patience time.Duration) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	begun := time.Now()
	record, err := b.Get(ctx, key)
	if (record == nil) != (err != nil) {
		b.t.Errorf("Get = %v, %v", record, err)
	}
	return time.Since(begun), err
}

func (b *bed) put(write string, patience time.Duration) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	begun := time.Now()
	_, err = b.Put(ctx, newRecord(write), store.Precondition{})
	return time.Since(begun), err
}

func (b *bed) calls(op storetest.Operation, want int) {
	b.t.Helper()
	if got := b.faults.Calls(op); got != want {
		b.t.Errorf("%d calls of %s reached the store, want %d", got, op, want)
	}
}

func (b *bed) within(what string, took, least, most time.Duration) {
	b.t.Helper()
	if took < least || took > most {
		b.t.Errorf("%s took %s, want %s to %s", what, took, least, most)
	}
}

var retrying = policy.Config{Retries: 5}

func TestHang(t *testing.T) {
	t.Run("a read once", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			b.faults.Set(storetest.Get, storetest.Fault{Hang: true, Calls: 1})
			took, err := b.get(5 * time.Second)
			if err != nil {
				t.Error(err)
			}
			b.within("the call", took, 2500*time.Millisecond, 2700*time.Millisecond)
			b.calls(storetest.Get, 2)
		})
	})
	t.Run("all reads", func(t *testing.T) {
		for _, patience := range []time.Duration{5 * time.Second, time.Hour} { // the policy has its own limit
			inBubble(t, retrying, func(b *bed) {
				b.faults.Set(storetest.Get, storetest.Fault{Hang: true})
				took, err := b.get(patience)
				if !errors.Is(err, store.ErrTimeout) {
					t.Error(err)
				}
				b.within("the call", took, 4*time.Second, 5*time.Second)
				b.calls(storetest.Get, 2)
			})
		}
	})
	// The limit of the call ends it, although the caller would wait and each try is
	// within its own limit.
	t.Run("reads that fail slowly", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			b.faults.Set(storetest.Get, storetest.Fault{Latency: 2 * time.Second, Err: store.ErrUnavailable})
			took, err := b.get(time.Hour)
			if !errors.Is(err, store.ErrTimeout) || !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
			b.within("the call", took, 4*time.Second, 5*time.Second)
			b.calls(storetest.Get, 3)
		})
	})
	t.Run("a caller that left before", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			if _, err := b.get(0); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			b.calls(storetest.Get, 0)
		})
	})
	t.Run("a read without retries", func(t *testing.T) {
		inBubble(t, policy.Config{}, func(b *bed) {
			b.faults.Set(storetest.Get, storetest.Fault{Hang: true})
			took, err := b.get(time.Hour)
			if !errors.Is(err, store.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			b.within("the call", took, 4*time.Second, 5*time.Second)
			b.calls(storetest.Get, 1)
		})
	})
	t.Run("a write once, and landed", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			b.faults.Set(storetest.Put, storetest.Fault{Hang: true, Applied: true, Calls: 1})
			took, err := b.put("w1", 10*time.Second)
			if err != nil {
				t.Error(err)
			}
			b.within("the call", took, 5*time.Second, 5300*time.Millisecond)
			b.calls(storetest.Put, 2)
		})
	})
	t.Run("a write, and its caller's deadline", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			b.faults.Set(storetest.Put, storetest.Fault{Hang: true})
			took, err := b.put("w1", time.Second)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			b.within("the call", took, 900*time.Millisecond, time.Second)
			b.calls(storetest.Put, 1)
		})
	})
	t.Run("a caller that leaves", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			b.faults.Set(storetest.Get, storetest.Fault{Hang: true})
			ctx, cancel := context.WithCancel(b.t.Context())
			time.AfterFunc(time.Second, cancel)
			begun := time.Now()
			if _, err := b.Get(ctx, key); !errors.Is(err, context.Canceled) || time.Since(begun) != time.Second {
				t.Errorf("%v after %s", err, time.Since(begun))
			}
			b.calls(storetest.Get, 1)
		})
	})
}

// Nobody waits for a driver that ignores its context. Its late result is dropped.
func TestDeafDriver(t *testing.T) {
	t.Run("read", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			until := make(chan struct{})
			b.faults.Set(storetest.Get, storetest.Fault{Until: until})
			took, err := b.get(5 * time.Second)
			if !errors.Is(err, store.ErrTimeout) {
				t.Error(err)
			}
			b.within("the call", took, 4*time.Second, 5*time.Second)
			b.faults.Set(storetest.Get, storetest.Fault{Err: store.ErrNotFound})
			close(until)
			synctest.Wait()
			if _, err := b.get(time.Second); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the next call: %v", err)
			}
		})
	})
	// The first try may land after a second one was acknowledged, and after writes of
	// others. So there is no second try while the first runs.
	t.Run("write", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			until := make(chan struct{})
			b.faults.Set(storetest.Put, storetest.Fault{Until: until, Calls: 1})
			record := newRecord("w1")
			record.Tags = map[string]string{"env": "prod"}
			begun := time.Now()
			_, err := b.Put(b.t.Context(), record, store.Precondition{})
			if !errors.Is(err, store.ErrTimeout) || errors.Is(err, store.ErrOpen) {
				t.Error(err)
			}
			b.within("the call", time.Since(begun), 9*time.Second, 10*time.Second)
			b.calls(storetest.Put, 1)
			// The caller may change its arguments again.
			clear(record.Payload)
			record.Tags["env"], record.WriteID = "spoilt", "spoilt"
			close(until)
			synctest.Wait()
			got, err := b.Get(b.t.Context(), key)
			if err != nil || got.WriteID != "w1" || string(got.Payload) != "w1" || got.Tags["env"] != "prod" {
				t.Errorf("the record that landed late: %+v, %v", got, err)
			}
		})
	})
	t.Run("write, to its deadline", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			until := make(chan struct{})
			defer close(until)
			b.faults.Set(storetest.Delete, storetest.Fault{Until: until})
			ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
			defer cancel()
			begun := time.Now()
			err := b.Delete(ctx, key, store.Precondition{})
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrOpen) {
				t.Error(err)
			}
			b.within("the call", time.Since(begun), time.Second, time.Second)
		})
	})
	// A result that comes a moment after the time limit is used, because it says more
	// than a timeout.
	t.Run("slow to return", func(t *testing.T) {
		inBubble(t, retrying, func(b *bed) {
			until := make(chan struct{})
			b.faults.Set(storetest.Put, storetest.Fault{Until: until})
			time.AfterFunc(5050*time.Millisecond, func() { close(until) })
			if took, err := b.put("w1", 10*time.Second); err != nil || took != 5050*time.Millisecond {
				t.Errorf("a write that landed late: %v after %s", err, took)
			}
			b.calls(storetest.Put, 1)
			again := make(chan struct{})
			b.faults.Set(storetest.Get, storetest.Fault{Until: again, Err: store.ErrPermission})
			time.AfterFunc(2550*time.Millisecond, func() { close(again) })
			if took, err := b.get(5 * time.Second); !errors.Is(err, store.ErrPermission) || took != 2550*time.Millisecond {
				t.Errorf("a read that was refused late: %v after %s", err, took)
			}
			b.calls(storetest.Get, 1)
		})
	})
	t.Run("write that lands within its time", func(t *testing.T) {
		for _, fault := range []storetest.Fault{{}, {Err: store.ErrConflict}} {
			inBubble(t, retrying, func(b *bed) {
				until := make(chan struct{})
				fault.Until = until
				b.faults.Set(storetest.Put, fault)
				time.AfterFunc(7*time.Second, func() { close(until) })
				if took, err := b.put("w1", 10*time.Second); !errors.Is(err, fault.Err) || unknownTo(err) || took != 7*time.Second {
					t.Errorf("%v after %s", err, took)
				}
				b.calls(storetest.Put, 1)
			})
		}
	})
	t.Run("writes count for the breaker", func(t *testing.T) {
		inBubble(t, policy.Config{BreakerFailures: 2}, func(b *bed) {
			until := make(chan struct{})
			defer close(until)
			b.faults.Set(storetest.Put, storetest.Fault{Until: until})
			for range 2 {
				if took, err := b.put("w1", 10*time.Second); !errors.Is(err, store.ErrTimeout) || took > 10*time.Second {
					t.Errorf("%v after %s", err, took)
				}
			}
			b.changed(policy.Open)
		})
	})
	t.Run("without end", func(t *testing.T) {
		inBubble(t, policy.Config{}, func(b *bed) {
			until := make(chan struct{})
			b.faults.Set(storetest.Get, storetest.Fault{Until: until})
			results := make(chan error)
			for range 1000 {
				go func() { _, err := b.get(time.Second); results <- err }()
			}
			for range 1000 {
				if err := <-results; !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
			}
			if took, err := b.get(time.Second); !errors.Is(err, store.ErrOpen) || took != 0 || !strings.Contains(err.Error(), "restart") {
				t.Errorf("with 1000 goroutines left behind: %v after %s", err, took)
			}
			if _, err := b.put("w1", time.Second); err != nil {
				t.Errorf("a write, with 1000 reads left behind: %v", err)
			}
			b.faults.Set(storetest.Get, storetest.Fault{})
			close(until)
			synctest.Wait()
			if _, err := b.get(time.Second); err != nil {
				t.Errorf("a read after they returned: %v", err)
			}
		})
	})
}

// late is a native driver that ignores the end of its context.
type late struct {
	store.Store
	returns chan struct{}
	found   chan *store.Record
}

func (l *late) Get(context.Context, subjects.Target) (*store.Record, error) {
	rec := newRecord("w")
	rec.Data = subjects.Value([]byte("s3cret"))
	l.found <- rec
	<-l.returns
	return rec, nil
}

func (l *late) GetsMulti(subjects.Scope) bool { return true }

func (l *late) GetMulti(ctx context.Context, _ []subjects.Target) ([]store.Found, error) {
	rec, err := l.Get(ctx, key)
	return []store.Found{{Err: store.ErrNotFound}, {Record: rec, Err: err}}, nil
}

// Values that come too late must not stay in memory in clear.
func TestLateValuesAreWiped(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		driver := &late{returns: make(chan struct{}), found: make(chan *store.Record, 2)}
		s := policy.New(driver, policy.Config{})
		if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrTimeout) {
			t.Errorf("get: %v", err)
		}
		if _, err := s.GetMulti(t.Context(), []subjects.Target{key, key}); !errors.Is(err, store.ErrTimeout) {
			t.Errorf("GetMulti: %v", err)
		}
		single, several := (<-driver.found).Data[subjects.ValueName].Bytes(), (<-driver.found).Data[subjects.ValueName].Bytes()
		close(driver.returns)
		synctest.Wait()
		if wiped := make([]byte, len("s3cret")); !bytes.Equal(single, wiped) || !bytes.Equal(several, wiped) {
			t.Errorf("%q and %q are left", single, several)
		}
	})
}

// panicking is a driver with a bug.
type panicking struct{ store.Store }

func (panicking) Get(context.Context, subjects.Target) (*store.Record, error) { panic("s3cret") }

func TestPanic(t *testing.T) {
	_, err := policy.New(panicking{}, policy.Config{Retries: 5, BreakerFailures: 1}).Get(t.Context(), key)
	if err == nil || !strings.Contains(err.Error(), "panicking") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v; want the stack without the value", err)
	}
}

// Many callers of a store that throttles are all served when it recovers.
func TestThrottling(t *testing.T) {
	inBubble(t, policy.Config{Retries: 5, BreakerFailures: 100}, func(b *bed) {
		b.faults.Set(storetest.Get, storetest.Fault{Err: fmt.Errorf("%w: slow down", store.ErrUnavailable), Calls: 60})
		results := make(chan error)
		for range 20 {
			go func() { _, err := b.get(5 * time.Second); results <- err }()
		}
		for range 20 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		b.calls(storetest.Get, 80)
		if changes := b.changes(); len(changes) != 0 {
			t.Errorf("changes: %v", changes)
		}
	})
}

// unknownTo reports whether err means an unknown outcome to the manager.
func unknownTo(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTimeout)
}
