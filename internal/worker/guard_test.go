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
)

// The settings reach the policy in front of the store, and the log tells once
// what becomes of its breaker.
func TestTheStoresBreakerIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := new(logs)
		w := &Worker{
			logger: slog.New(slog.NewTextHandler(logs, nil)),
			config: &config.Config{Store: config.Store{
				ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second,
				Retries: 1, RetryBackoff: time.Second, BreakerFailures: 4, BreakerDelay: time.Minute,
			}},
		}
		faults := storetest.NewFaults(memory.New())
		faults.Set(storetest.Get, storetest.Fault{Err: errors.Join(store.ErrUnavailable, errors.New("no route"))})
		guarded := w.guard(faults)
		get := func(want error) {
			t.Helper()
			if _, err := guarded.Get(t.Context(), store.Key{Scope: "org:acme", ID: "db"}); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		logged := func(want string) {
			t.Helper()
			if n := strings.Count(logs.String(), want); n != 1 {
				t.Errorf("%q is logged %d times:\n%s", want, n, logs)
			}
		}
		get(store.ErrUnavailable)
		get(store.ErrUnavailable)
		get(store.ErrOpen)
		get(store.ErrOpen)
		logged("breaker=open")
		logged("no route")
		faults.Set(storetest.Get, storetest.Fault{})
		time.Sleep(time.Minute)
		get(store.ErrNotFound)
		get(store.ErrNotFound)
		logged("breaker=half-open")
		logged("breaker=closed after=1m0s")
		if n := faults.Calls(storetest.Get); n != 6 {
			t.Errorf("%d calls", n)
		}
	})
}
