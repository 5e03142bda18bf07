// Package memory is the store for tests and demonstrations: a map behind a
// mutex. What it holds is gone when the process ends.
//
// It is also the shortest reading of the [store.Store] contract, which the
// other drivers can be compared with.
package memory

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"sync"

	"credbus/internal/store"
)

// Store keeps records in memory. Make one with New.
type Store struct {
	identity string

	mu      sync.Mutex
	records map[store.Key]*store.Record // nil once closed
	watches map[*watch]struct{}

	watching sync.WaitGroup // one for each of watches
}

var (
	_ store.Watcher    = (*Store)(nil)
	_ store.Identified = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	return &Store{
		identity: store.FleetingIdentity + rand.Text(),
		records:  make(map[store.Key]*store.Record), watches: make(map[*watch]struct{}),
	}
}

// Identity implements [store.Identified]: no two stores in memory are the same.
func (s *Store) Identity(ctx context.Context) (string, error) { return s.identity, ctx.Err() }

// begin takes the lock for one operation, unless the operation may not start.
// The caller unlocks when err is nil.
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
func (s *Store) Get(ctx context.Context, key store.Key) (*store.Record, error) {
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
	current := s.records[rec.Key]
	if current != nil && current.WriteID == rec.WriteID {
		return pre.Repeated(current)
	}
	if err := pre.Check(current); err != nil {
		return "", err
	}
	next := clone(rec)
	next.Version = rand.Text()
	if current != nil {
		next.Created = current.Created
	}
	s.records[rec.Key] = next
	s.announceLocked(store.Change{Key: next.Key, Version: next.Version, WriteID: next.WriteID})
	return next.Version, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key store.Key, pre store.Precondition) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	current := s.records[key]
	if err := pre.Check(current); err != nil {
		return err
	}
	if current == nil {
		return store.ErrNotFound
	}
	delete(s.records, key)
	s.announceLocked(store.Change{Key: key, Gone: true})
	return nil
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

	var keys []store.Key
	for key := range s.records {
		if opts.Scope.Contains(key.Scope) && key.Compare(after) > 0 {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, store.Key.Compare)

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
func (s *Store) Close() error {
	s.mu.Lock()
	s.records = nil
	for w := range s.watches {
		w.wake()
	}
	s.mu.Unlock()
	s.watching.Wait()
	return nil
}

func clone(rec *store.Record) *store.Record {
	c := *rec
	c.Payload, c.Proof = slices.Clone(rec.Payload), slices.Clone(rec.Proof)
	c.Data = rec.Data.Clone()
	c.Tags = maps.Clone(rec.Tags)
	return &c
}
