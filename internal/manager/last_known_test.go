package manager_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

const staleFor = time.Hour

// newStaleBed is a bed whose store may fail, and that remembers what it read.
func newStaleBed(t *testing.T) (*bed, *storetest.Faults) {
	t.Helper()
	faults := storetest.NewFaults(memory.New())
	known, err := cache.New(cache.Config{TTL: staleFor})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { known.Close() })
	log := coherencetest.NewLog()
	c, err := cache.New(cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	replica := coherence.NewReplica(log, dropping{c, known}, coherence.Config{Logger: slog.New(slog.DiscardHandler)})
	return runBed(t, replica, c, func(config *manager.Config) { config.Store, config.LastKnown = faults, known }), faults
}

// dropping drops from both caches, like the worker's replica.
type dropping struct{ cache, known *cache.Cache }

func (d dropping) Drop(scope, id string)    { d.cache.Drop(scope, id); d.known.Drop(scope, id) }
func (d dropping) DropSubtree(scope string) { d.cache.DropSubtree(scope); d.known.DropSubtree(scope) }
func (d dropping) DropScopes(drop func(string) bool) {
	d.cache.DropScopes(drop)
	d.known.DropScopes(drop)
}
func (d dropping) Clear() { d.cache.Clear(); d.known.Clear() }

// Only while the store cannot be reached, the last known value is returned,
// marked with its time, until it is too old.
func TestStaleOnOutage(t *testing.T) {
	for _, test := range []struct {
		err   error
		stale bool
	}{
		{store.ErrUnavailable, true},
		{store.ErrTimeout, true},
		{store.ErrOpen, true},
		{fmt.Errorf("%w: policy", store.ErrPermission), false},
		{errors.Join(store.ErrUnavailable, store.ErrPermission), false},
		{store.ErrDamaged, false},
		{store.ErrNotFound, false},
		{errors.New("something else"), false},
	} {
		t.Run(test.err.Error(), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b, faults := newStaleBed(t)
				at := target("org:acme", "db")
				b.store(t, at, "one")
				item := subjects.RetrieveItem{Target: at}
				read := time.Now()
				b.value(t, item)
				time.Sleep(cache.DefaultTTL)

				faults.Set(storetest.Get, storetest.Fault{Err: test.err})
				got, err := b.retrieve(t.Context(), item, subjects.Revision{})
				if !test.stale {
					if !errors.Is(err, test.err) {
						t.Fatalf("got %v, %v; want the store's own error", got, err)
					}
					return
				}
				if err != nil || string(got.Data[subjects.ValueName].Bytes()) != "one" || !got.StaleSince.Equal(read.Truncate(time.Millisecond)) {
					t.Fatalf("got %v, %v; want the value read at %v", got, err, read)
				}
				if _, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at, Fresh: true}, subjects.Revision{}); !errors.Is(err, test.err) {
					t.Errorf("a fresh read: %v", err)
				}
				if _, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: target("org:acme", "other")}, subjects.Revision{}); !errors.Is(err, test.err) {
					t.Errorf("a credential never read before: %v", err)
				}

				faults.Set(storetest.Get, storetest.Fault{})
				if got, err := b.retrieve(t.Context(), item, subjects.Revision{}); err != nil || !got.StaleSince.IsZero() {
					t.Errorf("the store is back: %v, %v", got, err)
				}
				time.Sleep(staleFor)
				faults.Set(storetest.Get, storetest.Fault{Err: test.err})
				if got, err := b.retrieve(t.Context(), item, subjects.Revision{}); !errors.Is(err, test.err) {
					t.Errorf("after %s: %v, %v", staleFor, got, err)
				}
			})
		})
	}
}

// If a store hangs for longer than the lease of an idle replica, it counts as
// an outage like any other.
func TestStaleWhenStoreHangs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b, faults := newStaleBed(t)
		at := target("org:acme", "db")
		b.store(t, at, "one")
		item := subjects.RetrieveItem{Target: at}
		b.value(t, item)
		time.Sleep(cache.DefaultTTL)
		faults.Set(storetest.Get, storetest.Fault{Latency: 4900 * time.Millisecond, Err: store.ErrTimeout})
		got, err := b.retrieve(t.Context(), item, subjects.Revision{})
		if err != nil || string(got.Data[subjects.ValueName].Bytes()) != "one" || got.StaleSince.IsZero() {
			t.Errorf("got %v, %v; want the value read before, marked as stale", got, err)
		}
	})
}

// A caller with less time than the store has must be answered in time, and from
// the store if that answers in time.
func TestStaleBeforeTheCallerIsGone(t *testing.T) {
	for name, test := range map[string]struct {
		id      string
		latency time.Duration
		stale   bool
		err     error
	}{
		"hangs":               {id: "db", latency: 4900 * time.Millisecond, stale: true},
		"slow":                {id: "db", latency: 700 * time.Millisecond},
		"hangs, not known":    {id: "other", latency: 4900 * time.Millisecond, err: context.DeadlineExceeded},
		"slow, and not known": {id: "other", latency: 900 * time.Millisecond, err: store.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b, faults := newStaleBed(t)
				at := target("org:acme", "db")
				b.store(t, at, "one")
				b.value(t, subjects.RetrieveItem{Target: at})
				time.Sleep(cache.DefaultTTL)
				faults.Set(storetest.Get, storetest.Fault{Latency: test.latency})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				got, err := b.retrieve(ctx, subjects.RetrieveItem{Target: target("org:acme", test.id)}, subjects.Revision{})
				switch {
				case test.err != nil:
					if !errors.Is(err, test.err) {
						t.Errorf("got %v, %v; want %v", got, err, test.err)
					}
				case err != nil || string(got.Data[subjects.ValueName].Bytes()) != "one" || got.StaleSince.IsZero() == test.stale:
					t.Errorf("got %v, %v; stale since %v, want stale: %v", got, err, got.StaleSince, test.stale)
				}
				time.Sleep(10 * time.Second) // until the store has answered
			})
		})
	}
}

// A value that was changed, or may have been, must never be returned as the
// last known one.
func TestStaleIsNeverOlderThanAChange(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, b *bed, at subjects.Target, faults *storetest.Faults){
		"stored": func(t *testing.T, b *bed, at subjects.Target, _ *storetest.Faults) { b.store(t, at, "two") },
		"deleted": func(t *testing.T, b *bed, at subjects.Target, _ *storetest.Faults) {
			if _, err := b.Delete(t.Context(), subjects.DeleteItem{Target: at}); err != nil {
				t.Fatal(err)
			}
		},
		"stored, and the answer lost": func(t *testing.T, b *bed, at subjects.Target, faults *storetest.Faults) {
			faults.Set(storetest.Put, storetest.Fault{Applied: true, Err: store.ErrTimeout})
			if _, err := b.Store(t.Context(), &subjects.StoreItem{Target: at, Data: subjects.Value([]byte("two"))}, ""); err == nil {
				t.Fatal("the fault had no effect")
			}
		},
		"cleared": func(t *testing.T, b *bed, at subjects.Target, _ *storetest.Faults) {
			revision, err := b.replica.Flush(t.Context(), subjects.Target{Scope: "org:acme"})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.replica.Await(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b, faults := newStaleBed(t)
				at := target("org:acme", "db")
				b.store(t, at, "one")
				item := subjects.RetrieveItem{Target: at}
				b.value(t, item)
				change(t, b, at, faults)
				faults.Set(storetest.Get, storetest.Fault{Err: store.ErrUnavailable})
				time.Sleep(cache.DefaultTTL)
				if got, err := b.retrieve(t.Context(), item, subjects.Revision{}); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("got %v, %v", got, err)
				}
			})
		})
	}
}

// A client that has seen a later revision must get nothing older.
func TestStaleAgainstRevision(t *testing.T) {
	b, faults := newStaleBed(t)
	at := target("org:acme", "db")
	reply := b.store(t, at, "one")
	item := subjects.RetrieveItem{Target: at}
	b.value(t, item)
	b.cache.Clear()
	faults.Set(storetest.Get, storetest.Fault{Err: store.ErrUnavailable})
	if _, err := b.retrieve(t.Context(), item, reply.Revision); err != nil {
		t.Errorf("with the revision of the known value: %v", err)
	}
	later := reply.Revision
	later.Seq += 1000
	if got, err := b.retrieve(t.Context(), item, later); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("with a later revision: %v, %v", got, err)
	}
}
