package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func sample() *store.Record {
	return &store.Record{
		Target:  subjects.Target{Scope: "org:acme/team:eng", ID: "api-key"},
		WriteID: "write-1",
		Payload: []byte("sealed bytes"),
	}
}

// A write that waits for a lock of this or another process gives up when its context
// ends or the store closes, and changes nothing.
func TestLockWaiters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	holder, waiter := openStore(t, dir), openStore(t, dir)
	rec := sample()
	for name, locker := range map[string]*Store{"same process": waiter, "other process": holder} {
		unlock, err := locker.locks.lock(t.Context(), t.Context(), stripeOf(rec.Target))
		if err != nil {
			t.Fatal(err)
		}
		for write, call := range map[string]func(context.Context) error{
			"Put":    func(ctx context.Context) error { _, err := waiter.Put(ctx, rec, store.Precondition{}); return err },
			"Delete": func(ctx context.Context) error { return waiter.Delete(ctx, rec.Target, store.Precondition{}) },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s against a lock of the %s: %v", write, name, err)
			}
			cancel()
		}
		unlock()
		if _, err := waiter.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a write that gave up took effect: %v", err)
		}
	}
	// Reads do not wait.
	if _, err := waiter.Put(t.Context(), rec, store.Precondition{}); err != nil {
		t.Fatal(err)
	}
	unlock, err := holder.locks.lock(t.Context(), t.Context(), stripeOf(rec.Target))
	if err != nil {
		t.Fatal(err)
	}
	unlock = sync.OnceFunc(unlock)
	defer unlock()
	if _, err := waiter.Get(t.Context(), rec.Target); err != nil {
		t.Errorf("Get against a lock: %v", err)
	}
	waiting := make(chan error)
	go func() {
		_, err := waiter.Put(context.Background(), rec, store.Precondition{})
		waiting <- err
	}()
	// Wait until the write has its turn in this process and waits for the other
	// one. Before that, Close has nothing to stop.
	for turn := waiter.locks.stripes[stripeOf(rec.Target)].turn; len(turn) == 0; {
		runtime.Gosched()
	}
	closed := make(chan error, 1)
	go func() { closed <- waiter.Close(t.Context()) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Close waits for a write that waits for a lock")
		unlock()
	}
	if err := <-waiting; !errors.Is(err, store.ErrClosed) {
		t.Errorf("Put that waited when its store closed: %v", err)
	}
}

// The sweep at the start removes the files of dead processes and keeps those of
// running ones.
func TestSweep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	rec := sample()
	if _, err := s.Put(t.Context(), rec, store.Precondition{}); err != nil {
		t.Fatal(err)
	}
	home := scopePath(rec.Scope)
	const living, dead = 0x2a, 0xc5
	unlock, err := s.locks.lock(t.Context(), t.Context(), living)
	if err != nil {
		t.Fatal(err)
	}
	temps := map[string]bool{ // true: must stay
		home + "/" + tempName(living):        true,
		home + "/" + tempName(dead):          false,
		recordsDir + "/" + tempName(dead):    false,
		locksDir + "/" + tempName(dead):      false,
		home + "/.tmp-of-someone-else":       true,
		home + "/" + tempPrefix + "c5-x.old": false,
	}
	for name := range temps {
		if err := os.WriteFile(s.path(name), []byte("half a record"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		for name, stays := range temps {
			if _, err := os.Stat(s.path(name)); (err == nil) != stays {
				t.Errorf("%s: %v, want it to stay: %t", name, err, stays)
			}
		}
	}
	openStore(t, dir)
	check()
	unlock()
	openStore(t, dir)
	for name := range temps {
		if strings.HasPrefix(filepath.Base(name), tempPrefix+"2a") {
			temps[name] = false
		}
	}
	check()
	if page, err := s.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 1 {
		t.Errorf("List beside temporary files: %d records, %v", len(page.Records), err)
	}
}

// A failed write must leave nothing behind.
func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	rec := sample()
	// A directory in the record's place makes the rename fail.
	if err := os.MkdirAll(s.path(recordPath(rec.Target)), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), rec, store.Precondition{}); !errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Put: %v, want ErrDamaged, no ErrUnavailable, and the path", err)
	}
	entries, err := os.ReadDir(s.path(scopePath(rec.Scope)))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
