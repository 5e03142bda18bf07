package storetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// operations are one call of each method, so that a question can be asked of
// all four.
func (s *subject) operations(rec *store.Record) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := s.Get(ctx, rec.Key); return err },
		"Put":    func(ctx context.Context) error { _, err := s.Put(ctx, rec, store.Precondition{}); return err },
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, rec.Key, store.Precondition{}) },
		"List": func(ctx context.Context) error {
			_, err := s.List(ctx, store.ListOptions{Scope: rec.Scope, Limit: 10})
			return err
		},
	}
}

func askEndedContext(s *subject) {
	key := keyOf("org:acme", "key")
	rec := s.record(key)
	version := s.put(rec, store.Precondition{})

	cancelled, cancel := context.WithCancel(s.ctx)
	cancel()
	expired, cancel := context.WithDeadline(s.ctx, time.Now().Add(-time.Second))
	defer cancel()
	for name, operation := range s.operations(s.record(key)) {
		for _, ctx := range []context.Context{cancelled, expired} {
			if err := operation(ctx); !errors.Is(err, ctx.Err()) {
				s.Errorf("%s with an ended context: %v, want %v", name, err, ctx.Err())
			}
			s.holds(rec, version)
		}
	}
	absent := s.record(keyOf("org:acme", "absent"))
	if _, err := s.Put(cancelled, absent, store.Precondition{Absent: true}); !errors.Is(err, context.Canceled) {
		s.Errorf("creating Put with an ended context: %v", err)
	}
	s.missing(absent.Key)
}

// askOwnership changes what it passed and what it was given, and looks whether
// the store noticed.
func askOwnership(s *subject) {
	key := keyOf("org:acme", "key")
	passed := s.record(key)
	passed.Tags = map[string]string{"env": "prod"}
	want := *passed
	want.Payload, want.Data = bytes.Clone(passed.Payload), passed.Data.Clone()
	want.Tags = maps.Clone(passed.Tags)

	version := s.put(passed, store.Precondition{})
	unchanged := func(what string) {
		s.Helper()
		if passed.Version != "" || passed.WriteID != want.WriteID || diffMetadata(passed.Metadata, want.Metadata) != "" || diffValues(passed, &want) != "" {
			s.Errorf("%s changed the record it was passed: %+v %s", what, passed.Metadata, diffValues(passed, &want))
		}
	}
	unchanged("Put")
	s.put(passed, store.Precondition{})
	unchanged("a repeated Put")
	refused := *passed
	refused.WriteID = "another"
	if _, err := s.Put(s.ctx, &refused, store.Precondition{Absent: true}); !errors.Is(err, store.ErrExists) {
		s.Errorf("Put of what exists: %v, want ErrExists", err)
	}
	unchanged("a refused Put")
	spoil := func(rec *store.Record) {
		clear(rec.Payload)
		rec.Data.Wipe() // as whoever gets a record does
		if rec.Data != nil {
			rec.Data["more"] = subjects.NewSecret([]byte("spoilt"))
		}
		if rec.Tags != nil {
			rec.Tags["env"], rec.Tags["more"] = "spoilt", "spoilt"
		}
		rec.WriteID, rec.Version, rec.Description = "spoilt", "spoilt", "spoilt"
	}
	spoil(passed)
	s.holds(&want, version)
	spoil(s.get(key))
	s.holds(&want, version)
	listed := s.walk(key.Scope, 10)
	spoil(&listed[0])
	s.holds(&want, version)
	if again := s.walk(key.Scope, 10); len(again) != 1 {
		s.Errorf("List shows %d records, want 1", len(again))
	} else {
		s.same(&again[0], &want, version)
	}
}

func askClose(s *subject) {
	rec := s.record(keyOf("org:acme", "key"))
	s.put(rec, store.Precondition{})
	// Close while calls are under way: each of them ends, with an answer or
	// with ErrClosed.
	var calls sync.WaitGroup
	closed := make(chan struct{})
	for _, operation := range s.operations(s.record(rec.Key)) {
		calls.Go(func() {
			for last := false; !last; {
				select {
				case <-closed:
					last = true // from here on ErrClosed is all there is, see below
				default:
				}
				switch err := operation(s.ctx); {
				case errors.Is(err, store.ErrClosed):
					return
				case err != nil && !errors.Is(err, store.ErrNotFound):
					s.Errorf("a call while the store closes: %v", err)
					return
				}
			}
		})
	}
	for range 2 {
		if err := s.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	}
	close(closed)
	calls.Wait()
	for name, operation := range s.operations(rec) {
		if err := operation(s.ctx); !errors.Is(err, store.ErrClosed) {
			s.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
}

func askDamage(s *subject) {
	if s.Damage == nil {
		s.Skip("records of this store cannot be damaged behind its back")
	}
	sound := s.record(keyOf("org:acme", "sound"))
	soundVersion := s.put(sound, store.Precondition{})
	key := keyOf("org:acme", "damaged")
	for _, want := range []struct {
		pre store.Precondition
		err error
	}{
		{store.Precondition{}, nil},
		{store.Precondition{Absent: true}, store.ErrExists},
		{store.Precondition{Present: true}, nil},
		{store.Precondition{Version: "the version before"}, store.ErrConflict},
	} {
		for _, deleting := range []bool{false, true} {
			pre := want.pre
			version := s.put(s.record(key), store.Precondition{})
			if pre.Version != "" {
				pre.Version = version
			}
			s.Damage(s.T, s.Store, key)
			if rec, err := s.Get(s.ctx, key); !errors.Is(err, store.ErrDamaged) || rec != nil {
				s.Errorf("Get of a damaged record = %v, %v; want ErrDamaged", rec, err)
			}
			listed := s.walk(key.Scope, 1)
			if len(listed) != 2 || listed[0].Key != key || listed[0].Damaged == "" || listed[1].Damaged != "" {
				s.Errorf("List beside a damaged record: %+v", listed)
			} else {
				s.same(&listed[1], sound, soundVersion)
			}
			s.holds(sound, soundVersion)

			var err error
			next := s.record(key)
			if deleting {
				err = s.Delete(s.ctx, key, pre)
			} else if version, err = s.Put(s.ctx, next, pre); err == nil {
				s.holds(next, version)
			}
			if !errors.Is(err, want.err) {
				s.Errorf("write (deleting: %t) over a damaged record with %+v: %v, want %v", deleting, pre, err, want.err)
			}
			if deleting && err == nil {
				s.missing(key)
			}
		}
	}
}
