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
		"Get":    func(ctx context.Context) error { _, err := s.Get(ctx, rec.Target); return err },
		"Put":    func(ctx context.Context) error { _, err := s.Put(ctx, rec, store.Precondition{}); return err },
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, rec.Target, store.Precondition{}) },
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
	s.missing(absent.Target)
}

// askOwnership changes its arguments and results, and checks that the store
// does not notice.
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
			s.Errorf("%s changed its argument: %+v %s", what, passed.Metadata, diffValues(passed, &want))
		}
	}
	unchanged("Put")
	s.put(passed, store.Precondition{})
	unchanged("a repeated Put")
	refused := *passed
	refused.WriteID = "another"
	if _, err := s.Put(s.ctx, &refused, store.Precondition{Absent: true}); !errors.Is(err, store.ErrExists) {
		s.Errorf("Put of an existing record: %v, want ErrExists", err)
	}
	unchanged("a refused Put")
	spoil := func(rec *store.Record) {
		clear(rec.Payload)
		rec.Data.Wipe() // as every caller that gets a record does
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
	// Close during calls: each must end, with an answer or with ErrClosed.
	var calls sync.WaitGroup
	closed := make(chan struct{})
	for _, operation := range s.operations(s.record(rec.Target)) {
		calls.Go(func() {
			for last := false; !last; {
				select {
				case <-closed:
					last = true // from here on every call gets ErrClosed, see below
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
		var closing sync.WaitGroup
		for range 2 {
			closing.Go(func() {
				if err := s.Close(s.ctx); err != nil {
					s.Errorf("Close: %v", err)
				}
			})
		}
		closing.Wait()
	}
	close(closed)
	calls.Wait()
	for name, operation := range s.operations(rec) {
		if err := operation(s.ctx); !errors.Is(err, store.ErrClosed) {
			s.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
}

// askCloseWithoutTime closes a store with an ended context. From then on no
// call may begin, and the next Close waits.
func askCloseWithoutTime(s *subject) {
	rec := s.record(keyOf("org:acme", "key"))
	s.put(rec, store.Precondition{})
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := s.Close(ended); err != nil && !errors.Is(err, context.Canceled) {
		s.Errorf("Close without time: %v", err)
	}
	for name, operation := range s.operations(rec) {
		if err := operation(s.ctx); !errors.Is(err, store.ErrClosed) {
			s.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	if err := s.Close(s.ctx); err != nil {
		s.Errorf("Close with time: %v", err)
	}
}

// askCloseWhileACallHangs closes a store while the callback of a Watch blocks.
func askCloseWhileACallHangs(s *subject) {
	watcher, ok := s.Store.(store.Watcher)
	if !ok {
		s.Skip("no call of this store can hang here; RunFaults tests it")
	}
	hanging, release := make(chan struct{}), make(chan struct{})
	watched := make(chan error, 1)
	go func() {
		first := sync.OnceFunc(func() { close(hanging); <-release })
		watched <- watcher.Watch(s.ctx, func(store.Change) { first() })
	}()
	<-hanging
	closes := make(chan error, 2)
	short, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
	defer cancel()
	for range cap(closes) {
		go func() { closes <- s.Close(short) }()
	}
	for range cap(closes) {
		select {
		case err := <-closes:
			if !errors.Is(err, context.DeadlineExceeded) {
				s.Errorf("Close while a call hangs: %v, want a timeout", err)
			}
		case <-time.After(slack):
			close(release)
			s.Fatal("Close waits for longer than its context allows")
		}
	}
	if err := s.operations(s.record(keyOf("org:acme", "key")))["Get"](s.ctx); !errors.Is(err, store.ErrClosed) {
		s.Errorf("Get while Close waits: %v, want ErrClosed", err)
	}
	close(release)
	if err := s.Close(s.ctx); err != nil {
		s.Errorf("Close after the call continued: %v", err)
	}
	select {
	case err := <-watched:
		if !errors.Is(err, store.ErrClosed) {
			s.Errorf("the hanging call: %v, want ErrClosed", err)
		}
	case <-time.After(slack):
		s.Error("Close returned before the call that hung")
	}
}

func askDamage(s *subject) {
	if s.Damage == nil {
		s.Skip("records of this store cannot be damaged without its knowledge")
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
			if len(listed) != 2 || listed[0].Target != key || listed[0].Damaged == "" || listed[1].Damaged != "" {
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
