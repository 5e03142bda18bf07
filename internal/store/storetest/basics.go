package storetest

import (
	"errors"
	"math"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

func askBasics(s *subject) {
	key := keyOf("org:acme/team:eng", "api-key")
	s.missing(key)
	if err := s.Delete(s.ctx, key, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		s.Errorf("Delete of a missing record: %v, want ErrNotFound", err)
	}

	first := s.record(key)
	first.Version = "a version set by the caller is ignored"
	version := s.put(first, store.Precondition{})
	s.holds(first, version)

	second := s.record(key)
	second.Created, second.Modified = epoch.Add(time.Hour), epoch.Add(time.Hour)
	version = s.put(second, store.Precondition{})
	second.Created = first.Created // kept from the replaced record
	s.holds(second, version)

	for _, other := range []subjects.Target{
		keyOf("org:acme/team:eng", "api-ke"),
		keyOf("org:acme/team:eng", "api-key2"),
		keyOf("org:acme", "api-key"),
		keyOf("org:acme/team:eng/service:api", "api-key"),
	} {
		s.missing(other)
	}

	s.remove(key)
	s.missing(key)

	third := s.record(key)
	third.Created = epoch.Add(2 * time.Hour) // nothing is replaced
	version = s.put(third, store.Precondition{})
	s.holds(third, version)
}

// askRevisions puts revisions in any order, the zero one too: the store must
// not interpret them.
func askRevisions(s *subject) {
	for _, revision := range []subjects.Revision{
		{Stream: 0x18bcfe56800000, Seq: 42}, {}, {Stream: math.MaxUint64, Seq: math.MaxUint64}, {Seq: 1}, {Stream: 1},
	} {
		rec := s.record(keyOf("org:acme", "db"))
		rec.Revision = revision
		version := s.put(rec, store.Precondition{})
		s.holds(rec, version)
		listed := s.walk(rec.Scope, 100)
		if len(listed) != 1 {
			s.Fatalf("List shows %d records of one", len(listed))
		}
		s.same(&listed[0], rec, version)
	}
}
