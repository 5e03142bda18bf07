// Package memory is the store for tests and demonstrations: a map behind a
// mutex. Its content is gone when the process ends.
//
// It is also the shortest implementation of the [store.Store] contract, to
// compare other drivers with.
package memory

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"sync"

	"credbus/internal/lifecycle"
	"credbus/internal/store"
	"credbus/subjects"
)

// Store keeps records in memory. Make one with New.
type Store struct {
	identity string

	mu      sync.Mutex
	records map[subjects.Target]*store.Record // nil once closed
	watches map[*watch]struct{}

	watching sync.WaitGroup // one for each watch
	life     lifecycle.Part
}

var (
	_ store.Watcher    = (*Store)(nil)
	_ store.Identified = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	return &Store{
		identity: store.FleetingIdentity + rand.Text(),
		records:  make(map[subjects.Target]*store.Record), watches: make(map[*watch]struct{}),
	}
}

// Identity implements [store.Identified]: no two stores in memory are the same.
func (s *Store) Identity(ctx context.Context) (string, error) { return s.identity, ctx.Err() }

// begin takes the lock for one operation, unless the operation must not start.
// If err is nil, the caller must unlock.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.records == nil {
		s.mu.Unlock()
		return store.ErrClosed
	}
	return nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	rec := s.records[key]
	if rec == nil {
		return nil, store.ErrNotFound
	}
	return clone(rec), nil
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if err := s.begin(ctx); err != nil {
		return "", err
	}
	defer s.mu.Unlock()
	read := func() (*store.Record, subjects.Target, error) { return s.records[rec.Target], rec.Target, nil }
	return store.Replace(rec, pre, read, func(next *store.Record, at subjects.Target) (string, error) {
		next = clone(next)
		next.Version = rand.Text()
		s.records[at] = next
		s.announceLocked(store.Change{Target: at, Version: next.Version, WriteID: next.WriteID})
		return next.Version, nil
	})
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	read := func() (*store.Record, subjects.Target, error) { return s.records[key], key, nil }
	return store.Remove(pre, read, func(at subjects.Target) error {
		delete(s.records, at)
		s.announceLocked(store.Change{Target: at, Gone: true})
		return nil
	})
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	after, err := store.ParseCursor(opts.After, opts.Scope)
	if err != nil {
		return store.Page{}, err
	}
	if err := s.begin(ctx); err != nil {
		return store.Page{}, err
	}
	defer s.mu.Unlock()

	var keys []subjects.Target
	for key := range s.records {
		if opts.Scope.Contains(key.Scope) && key.Compare(after) > 0 {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, subjects.Target.Compare)

	page, bytes := store.Page{CursorAt: store.FormatCursor}, 0
	for i, key := range keys {
		if i > 0 && opts.Full(i, bytes) {
			page.Next = store.FormatCursor(keys[i-1])
			break
		}
		rec := *s.records[key]
		rec.Payload, rec.Proof, rec.Data = nil, slices.Clone(rec.Proof), nil
		rec.Tags = maps.Clone(rec.Tags)
		bytes += rec.Size()
		page.Records = append(page.Records, rec)
	}
	return page, nil
}

// Close implements [store.Store].
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	s.records = nil
	for w := range s.watches {
		w.wake()
	}
	s.mu.Unlock()
	return s.life.Close(ctx, func(context.Context) error {
		s.watching.Wait()
		return nil
	})
}

func clone(rec *store.Record) *store.Record {
	c := *rec
	c.Payload, c.Proof = slices.Clone(rec.Payload), slices.Clone(rec.Proof)
	c.Data = rec.Data.Clone()
	c.Tags = maps.Clone(rec.Tags)
	return &c
}
