package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"credbus/internal/store"
)

// toldWithin is how long a change may take to be told. It bounds a failing
// test only.
const toldWithin = 10 * time.Second

// watching is a call of Watch and what it has told.
type watching struct {
	s      *subject
	cancel context.CancelFunc
	result chan error
	busy   atomic.Bool // changed is being called

	mu    sync.Mutex
	told  []store.Change
	grown chan struct{} // closed when told grows
}

// watch calls Watch and waits until it stands.
func (s *subject) watch(watcher store.Watcher) *watching {
	s.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	w := &watching{s: s, cancel: cancel, result: make(chan error, 1), grown: make(chan struct{})}
	s.Cleanup(cancel)
	go func() { w.result <- watcher.Watch(ctx, w.changed) }()
	if first := w.next(0); first != (store.Change{All: true}) {
		s.Fatalf("Watch first told %+v, want All and nothing else", first)
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

// next waits for the change at that place.
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
			w.s.Fatalf("after %v Watch has told %d changes and no more", toldWithin, len(told))
		}
	}
}

// tells waits for want, passing over what else is told. All is none of it: no
// store has a reason to lose track here.
func (w *watching) tells(want store.Change) {
	w.s.Helper()
	for place := 1; ; place++ {
		switch got := w.next(place); got {
		case want:
			return
		case store.Change{All: true}:
			w.s.Fatalf("Watch lost track before it told %+v", want)
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
	return store.Change{Key: rec.Key, Version: version, WriteID: rec.WriteID}
}

// askWatch changes records, through this store and another one over the same
// backend, and waits to be told.
func askWatch(s *subject) {
	watcher, ok := s.Store.(store.Watcher)
	if !ok {
		s.Skip("this store does not watch")
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
		for _, key := range []store.Key{
			keyOf("org:acme/team:eng", fmt.Sprint("key-", i)),
			keyOf("org:acme/team:eng", fmt.Sprint("KEY-", i)),
			keyOf(fmt.Sprintf("org:new-%d/team:Eng/service:api", i), "key"), // scopes that were not there before
		} {
			rec := s.record(key)
			for range 3 {
				w.tells(changeTo(rec, by.put(rec, store.Precondition{})))
				rec = s.record(key)
			}
			by.remove(key)
			w.tells(store.Change{Key: key, Gone: true})
			w.tells(changeTo(rec, by.put(rec, store.Precondition{})))
		}
	}
	w.tellsBurst(stores)
	if s.Damage != nil {
		s.Damage(s.T, s.Store, before.Key)
		w.tells(store.Change{Key: before.Key})
	}

	w.cancel()
	if err := w.ended(); !errors.Is(err, context.Canceled) {
		s.Errorf("Watch whose context ended: %v, want %v", err, context.Canceled)
	}
	// A watch that begins now sees what comes now.
	w = s.watch(watcher)
	rec := s.record(before.Key)
	w.tells(changeTo(rec, s.put(rec, store.Precondition{})))
	if err := s.Close(); err != nil {
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

// tellsBurst writes many records at once, each several times, and waits until
// the last state of each was told. The scopes are there already: where a watch
// stands on each scope, a record may come and go before it does.
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
			last[i] = store.Change{Key: key, Gone: true}
		})
	}
	writers.Wait()
	for i := range last {
		w.tells(last[i])
	}
}
