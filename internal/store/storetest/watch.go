package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// toldWithin is how long the report of a change may take. It only bounds a
// failing test.
const toldWithin = 10 * time.Second

// watching is a call of Watch and its reports.
type watching struct {
	s      *subject
	cancel context.CancelFunc
	result chan error
	busy   atomic.Bool // a call of changed runs

	mu    sync.Mutex
	told  []store.Change
	grown chan struct{} // closed when told grows
}

// watch calls Watch and waits for its first report.
func (s *subject) watch(watcher store.Watcher) *watching {
	s.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	w := &watching{s: s, cancel: cancel, result: make(chan error, 1), grown: make(chan struct{})}
	s.Cleanup(cancel)
	go func() { w.result <- watcher.Watch(ctx, w.changed) }()
	if first := w.next(0); first != (store.Change{All: true}) {
		s.Fatalf("Watch first reported %+v, want All and nothing else", first)
	}
	return w
}

func (w *watching) changed(change store.Change) {
	if w.busy.Swap(true) {
		w.s.Error("two calls of changed overlap")
	}
	defer w.busy.Store(false)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, change)
	close(w.grown)
	w.grown = make(chan struct{})
}

// next waits for the change with that index.
func (w *watching) next(place int) store.Change {
	w.s.Helper()
	late := time.NewTimer(toldWithin)
	defer late.Stop()
	for {
		w.mu.Lock()
		told, grown := w.told, w.grown
		w.mu.Unlock()
		if place < len(told) {
			return told[place]
		}
		select {
		case <-grown:
		case err := <-w.result:
			w.s.Fatalf("Watch ended: %v", err)
		case <-late.C:
			w.s.Fatalf("after %v Watch has reported only %d changes", toldWithin, len(told))
		}
	}
}

// tells waits for want and skips other reports. It fails on All: no store has a
// reason to lose track here.
func (w *watching) tells(want store.Change) {
	w.s.Helper()
	for place := 1; ; place++ {
		switch got := w.next(place); got {
		case want:
			return
		case store.Change{All: true}:
			w.s.Fatalf("Watch lost track before it reported %+v", want)
		}
	}
}

// ended waits for Watch to return.
func (w *watching) ended() error {
	w.s.Helper()
	select {
	case err := <-w.result:
		return err
	case <-time.After(toldWithin):
		w.s.Fatalf("Watch has not returned after %v", toldWithin)
		return nil
	}
}

func changeTo(rec *store.Record, version string) store.Change {
	return store.Change{Target: rec.Target, Version: version, WriteID: rec.WriteID}
}

// askWatch changes records, through this store and another one over the same
// backend, and waits for the reports.
func askWatch(s *subject) {
	watcher, ok := s.Store.(store.Watcher)
	if !ok {
		s.Skip("this store is not a store.Watcher")
	}
	stores := []store.Store{s.Store}
	if s.Other != nil {
		stores = append(stores, s.Other(s.T, s.Store))
	}
	before := s.record(keyOf("org:acme/team:eng", "before"))
	s.put(before, store.Precondition{})
	for team := range burstTeams {
		s.put(s.record(keyOf(burstScope(team), "first")), store.Precondition{})
	}
	w := s.watch(watcher)

	for i, through := range stores {
		by := *s
		by.Store = through
		for _, key := range []subjects.Target{
			keyOf("org:acme/team:eng", fmt.Sprint("key-", i)),
			keyOf("org:acme/team:eng", fmt.Sprint("KEY-", i)),
			keyOf(fmt.Sprintf("org:new-%d/team:Eng/service:api", i), "key"), // new scopes
		} {
			rec := s.record(key)
			for range 3 {
				w.tells(changeTo(rec, by.put(rec, store.Precondition{})))
				rec = s.record(key)
			}
			by.remove(key)
			w.tells(store.Change{Target: key, Gone: true})
			w.tells(changeTo(rec, by.put(rec, store.Precondition{})))
		}
	}
	w.tellsBurst(stores)
	if s.Damage != nil {
		s.Damage(s.T, s.Store, before.Target)
		w.tells(store.Change{Target: before.Target})
	}

	w.cancel()
	if err := w.ended(); !errors.Is(err, context.Canceled) {
		s.Errorf("Watch whose context ended: %v, want %v", err, context.Canceled)
	}
	// A watch that begins now sees the changes from now on.
	w = s.watch(watcher)
	rec := s.record(before.Target)
	w.tells(changeTo(rec, s.put(rec, store.Precondition{})))
	if err := s.Close(s.ctx); err != nil {
		s.Errorf("Close while the store is watched: %v", err)
	}
	if err := w.ended(); !errors.Is(err, store.ErrClosed) {
		s.Errorf("Watch of a store that was closed meanwhile: %v, want ErrClosed", err)
	}
	if err := watcher.Watch(s.ctx, func(store.Change) {}); !errors.Is(err, store.ErrClosed) {
		s.Errorf("Watch after Close: %v, want ErrClosed", err)
	}
}

const burstTeams = 3

func burstScope(team int) string { return fmt.Sprintf("org:burst/team:t%d", team) }

// tellsBurst writes many records at once, each several times, and waits for the
// report of the last state of each. The scopes exist before: in a new scope, a
// record may come and go before the watch on it.
func (w *watching) tellsBurst(stores []store.Store) {
	w.s.Helper()
	const keys, writes = 40, 4
	last := make([]store.Change, keys)
	var writers sync.WaitGroup
	for i := range keys {
		writers.Go(func() {
			through := stores[i%len(stores)]
			key := keyOf(burstScope(i%burstTeams), fmt.Sprint("key-", i))
			for range writes {
				rec := w.s.record(key)
				version, err := through.Put(w.s.ctx, rec, store.Precondition{})
				if err != nil {
					w.s.Errorf("Put: %v", err)
				}
				last[i] = changeTo(rec, version)
			}
			if i%4 != 0 {
				return
			}
			if err := through.Delete(w.s.ctx, key, store.Precondition{}); err != nil {
				w.s.Errorf("Delete: %v", err)
			}
			last[i] = store.Change{Target: key, Gone: true}
		})
	}
	writers.Wait()
	for i := range last {
		w.tells(last[i])
	}
}
