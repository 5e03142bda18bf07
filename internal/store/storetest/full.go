package storetest

import (
	"errors"

	"credbus/internal/store"
)

// askFull fills the backend: writes must fail with a definite error, and
// everything else must work.
func askFull(s *subject) {
	if s.Fill == nil {
		s.Skip("the backend of this store cannot be filled")
	}
	kept := s.record(keyOf("org:acme", "kept"))
	version := s.put(kept, store.Precondition{})
	makeRoom := s.Fill(s.T, s.Store)

	for what, rec := range map[string]*store.Record{"another": s.record(keyOf("org:acme", "another")), "the next version": s.record(kept.Target)} {
		rec.Payload = make([]byte, 64<<10)
		got, err := s.Put(s.ctx, rec, store.Precondition{})
		switch {
		case !errors.Is(err, store.ErrFull) || got != "":
			s.Errorf("Put of %s without room = %q, %v; want ErrFull", what, got, err)
		case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrTimeout):
			s.Errorf("Put of %s without room: %v: this also counts as an outage, which would be retried", what, err)
		}
	}
	s.holds(kept, version)
	s.missing(keyOf("org:acme", "another"))
	if listed := s.walk("org:acme", 1); len(listed) == 0 {
		s.Error("List shows nothing without room")
	}

	makeRoom()
	next := s.record(kept.Target)
	s.holds(next, s.put(next, store.Precondition{Version: version}))
}

// askReplaced replaces the store's place by another, empty one. The store must
// not mistake it for its own.
func askReplaced(s *subject) {
	if s.Replace == nil {
		s.Skip("the backend of this store cannot be replaced")
	}
	identity := func() string {
		identified, ok := s.Store.(store.Identified)
		if !ok {
			return ""
		}
		text, err := identified.Identity(s.ctx)
		if err != nil {
			return "none: " + err.Error()
		}
		return text
	}
	kept := s.record(keyOf("org:acme", "kept"))
	version := s.put(kept, store.Precondition{})
	before := identity()
	back := s.Replace(s.T, s.Store)
	if told := before != "" && identity() != before; !told {
		for name, operation := range s.operations(s.record(kept.Target)) {
			if err := operation(s.ctx); !errors.Is(err, store.ErrUnavailable) {
				s.Errorf("%s in the place of another store: %v, want ErrUnavailable or another identity", name, err)
			}
		}
	}
	if back == nil {
		return
	}
	back()
	s.holds(kept, version)
	if now := identity(); now != before {
		s.Errorf("back in its place the store is %q, was %q", now, before)
	}
	next := s.record(kept.Target)
	s.holds(next, s.put(next, store.Precondition{Version: version}))
}
