package worker

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/config"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// The settings reach the policy in front of the store, and the log tells once
// what becomes of its breaker.
func TestTheStoresBreakerIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
			if _, err := guarded.guarded.Get(t.Context(), store.Key{Scope: "org:acme", ID: "db"}); !errors.Is(err, want) {
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
		failing := subjects.StoreState{State: subjects.StoreFailing, Since: failed, Error: subjects.StorageUnavailable}
		state(failing)
		get(store.ErrOpen)
		get(store.ErrOpen)
		logged("store=eu breaker=open")
		logged("no route")

		// The worker probes without anybody asking for anything, until it succeeds.
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
