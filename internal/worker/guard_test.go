package worker

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"credbus/internal/config"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// The settings reach the policy in front of the store, and the log reports each
// change of its breaker once.
func TestTheStoresBreakerIsLogged(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		logs := new(logs)
		w := &Worker{config: new(config.Config), logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		faults := storetest.NewFaults(memory.New())
		faults.Set(storetest.Get, storetest.Fault{Err: errors.Join(store.ErrUnavailable, errors.New("no route"))})
		guarded := w.guard("eu", config.Store{
			Type: "memory", ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second,
			Retries: 1, RetryBackoff: time.Second, BreakerFailures: 4, BreakerDelay: time.Minute,
		}, faults)
		w.stores = []*opened{guarded}
		state := func(want subjects.StoreState) {
			t.Helper()
			want.Name, want.Type = "eu", "memory"
			if got := w.storeStates(); len(got) != 1 || got[0] != want {
				t.Errorf("the state is %+v, want %+v", got, want)
			}
		}
		get := func(want error) {
			t.Helper()
			if _, err := guarded.guarded.Get(t.Context(), subjects.Target{Scope: "org:acme", ID: "db"}); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		logged := func(want string) {
			t.Helper()
			if n := strings.Count(logs.String(), want); n != 1 {
				t.Errorf("%q is logged %d times:\n%s", want, n, logs)
			}
		}
		begun := now()
		state(subjects.StoreState{State: subjects.StoreOK, Since: begun})
		get(store.ErrUnavailable)
		get(store.ErrUnavailable)
		failed := now()
		failing := subjects.StoreState{State: subjects.StoreFailing, Since: failed, Error: subjects.StorageUnavailable, Refuses: subjects.RefusesReads}
		state(failing)
		get(store.ErrOpen)
		get(store.ErrOpen)
		logged("store=eu calls=reads breaker=open")
		logged("no route")

		// The worker probes by itself, without requests, until it succeeds.
		faults.Set(storetest.Get, storetest.Fault{Err: store.ErrTimeout})
		time.Sleep(time.Minute + time.Millisecond)
		failing.Error = subjects.StorageTimeout
		state(failing)
		logged("the store still fails")
		logged("level=ERROR")
		faults.Set(storetest.Get, storetest.Fault{})
		time.Sleep(time.Minute)
		state(subjects.StoreState{State: subjects.StoreOK, Since: failed.Add(2 * time.Minute)})
		logged("breaker=closed after=2m0s")
		get(store.ErrNotFound)
		if n := faults.Calls(storetest.Get); n != 7 {
			t.Errorf("%d calls", n)
		}
	})
}

// A store that refuses writes is reported as such, and the worker stays ready.
// If the whole store fails, the worker notices it without a request.
func TestAStoreThatRefusesWritesOnly(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := &Worker{config: new(config.Config), logger: slog.New(slog.DiscardHandler)}
		faults := storetest.NewFaults(memory.New())
		o := w.guard("eu", config.Store{
			Type: "memory", ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second,
			BreakerFailures: 3, BreakerDelay: 5 * time.Second,
		}, faults)
		w.stores = []*opened{o}
		key := subjects.Target{Scope: "org:acme", ID: "db"}
		put := func(want error) {
			t.Helper()
			if _, err := o.guarded.Put(t.Context(), &store.Record{Target: key, WriteID: "w"}, store.Precondition{}); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		is := func(state, refuses string, warning, problem bool) {
			t.Helper()
			if got := *o.state.Load(); got.State != state || got.Refuses != refuses || (got.Error != "") != (state == subjects.StoreFailing) {
				t.Errorf("the state is %+v, want %s, refusing %q", got, state, refuses)
			}
			var warned, unready bool
			for _, p := range w.storeProblems(t.Context()) {
				warned, unready = warned || p.Warning, unready || !p.Warning
				if p.Refuses != refuses {
					t.Errorf("problem %+v", p)
				}
			}
			if warned != warning || unready != problem {
				t.Errorf("warned: %t, not ready: %t", warned, unready)
			}
		}
		faults.Set(storetest.Put, storetest.Fault{Err: store.ErrUnavailable})
		for range 3 {
			put(store.ErrUnavailable)
		}
		put(store.ErrOpen)
		is(subjects.StoreFailing, subjects.RefusesWrites, true, false)
		time.Sleep(time.Hour)
		is(subjects.StoreFailing, subjects.RefusesWrites, true, false)
		if n := faults.Calls(storetest.Get); n < 700 || n > 720 {
			t.Errorf("%d probes in an hour, one in 5 s is expected", n)
		}
		began := o.state.Load().Since

		faults.Set(storetest.Get, storetest.Fault{Err: store.ErrUnavailable})
		time.Sleep(20 * time.Second)
		is(subjects.StoreFailing, subjects.RefusesAll, false, true)
		if !o.state.Load().Since.After(began) {
			t.Error("refuses changed, but Since did not")
		}
		faults.Set(storetest.Get, storetest.Fault{})
		faults.Set(storetest.Put, storetest.Fault{})
		time.Sleep(6 * time.Second)
		is(subjects.StoreOK, "", false, false)
		put(nil)

		// A successful write ends it too.
		faults.Set(storetest.Put, storetest.Fault{Err: store.ErrUnavailable})
		for range 3 {
			put(store.ErrUnavailable)
		}
		faults.Set(storetest.Put, storetest.Fault{})
		time.Sleep(6 * time.Second)
		put(nil)
		is(subjects.StoreOK, "", false, false)
		before := faults.Calls(storetest.Get)
		time.Sleep(time.Hour)
		if n := faults.Calls(storetest.Get) - before; n > 1 {
			t.Errorf("%d probes of a store that answers", n)
		}
	})
}

// The probes must end with the store.
func TestProbesEndWithTheStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := &Worker{config: new(config.Config), logger: slog.New(slog.DiscardHandler)}
		faults := storetest.NewFaults(memory.New())
		o := w.guard("eu", config.Store{Type: "memory", BreakerFailures: 1, BreakerDelay: time.Second}, faults)
		faults.Set(storetest.Put, storetest.Fault{Err: store.ErrUnavailable})
		_, _ = o.guarded.Put(t.Context(), &store.Record{}, store.Precondition{})
		if err := o.guarded.Close(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if o.probing.Load() || faults.Calls(storetest.Get) > 1 {
			t.Errorf("%d probes, and more to come: %t", faults.Calls(storetest.Get), o.probing.Load())
		}
	})
}
