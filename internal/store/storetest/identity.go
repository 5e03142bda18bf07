package storetest

import (
	"context"
	"errors"

	"credbus/internal/store"
)

// askIdentity checks that the identity shows workers whether they share a
// store.
func askIdentity(s *subject) {
	if _, ok := s.Store.(store.Identified); !ok {
		s.Skip("the store has no identity")
	}
	identity := func(of store.Store) string {
		s.Helper()
		text, err := of.(store.Identified).Identity(s.ctx)
		if err != nil || text == "" || len(text) > 255 {
			s.Fatalf("Identity = %q of %d bytes, %v; want 1 to 255 bytes", text, len(text), err)
		}
		return text
	}
	first := identity(s.Store)
	s.put(s.record(keyOf("org:acme", "key")), store.Precondition{})
	if again := identity(s.Store); again != first {
		s.Errorf("the identity was %q, and after a write it is %q", first, again)
	}
	if s.Other != nil {
		if other := identity(s.Other(s.T, s.Store)); other != first {
			s.Errorf("another client of the store calls it %q, this one %q", other, first)
		}
	}
	if !s.OnePlace {
		elsewhere := s.Open(s.T)
		defer elsewhere.Close(s.ctx)
		if other := identity(elsewhere); other == first {
			s.Errorf("two stores are called %q", first)
		}
	}
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	if text, err := s.Store.(store.Identified).Identity(ended); !errors.Is(err, context.Canceled) {
		s.Errorf("Identity with an ended context = %q, %v", text, err)
	}
}
