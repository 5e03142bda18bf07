package storetest

import (
	"errors"
	"fmt"

	"credbus/internal/store"
)

// elsewhere is another store over the same backend, like that of another
// process.
func (s *subject) elsewhere() *subject {
	s.Helper()
	if s.Other == nil {
		s.Skip("no other process writes to the backend of this store")
	}
	other := *s
	other.Store = s.Other(s.T, s.Store)
	return &other
}

// askChangedElsewhere replaces, deletes and creates again behind the back of a
// store that knows the record already.
func askChangedElsewhere(s *subject) {
	other := s.elsewhere()
	key := keyOf("org:acme/team:eng", "key")
	seen := make(map[string]string)
	fresh := func(version, how string) string {
		if before, ok := seen[version]; ok {
			s.Errorf("version %q of the record %s equals that of the record %s", version, how, before)
		}
		seen[version] = how
		return version
	}
	// stale checks that no write accepts the version old any more.
	stale := func(old string, want error) {
		s.Helper()
		for _, by := range []*subject{s, other} {
			if version, err := by.Put(s.ctx, s.record(key), store.Precondition{Version: old}); !errors.Is(err, want) || version != "" {
				s.Errorf("Put at the version before = %q, %v; want %v", version, err, want)
			}
			if err := by.Delete(s.ctx, key, store.Precondition{Version: old}); !errors.Is(err, want) {
				s.Errorf("Delete at the version before: %v, want %v", err, want)
			}
		}
	}
	// shows checks that both stores have the record, once.
	shows := func(rec *store.Record, version string) {
		s.Helper()
		for _, by := range []*subject{s, other} {
			by.holds(rec, version)
			listed := by.walk("org:acme", 10)
			if len(listed) != 1 {
				s.Fatalf("List shows %d records of one", len(listed))
			}
			by.same(&listed[0], rec, version)
		}
	}

	for round := range 3 {
		first := s.record(key)
		old := fresh(s.put(first, store.Precondition{Absent: true}), fmt.Sprint("created here, round ", round))
		shows(first, old)

		changed := s.record(key)
		changed.Description = "changed elsewhere"
		version := fresh(other.put(changed, store.Precondition{Version: old}), fmt.Sprint("changed elsewhere, round ", round))
		changed.Created = first.Created
		stale(old, store.ErrConflict)
		shows(changed, version)
		if again, err := s.Put(s.ctx, changed, store.Precondition{Absent: true}); err != nil || again != version {
			s.Errorf("repeating a write of the other store here = %q, %v; want version %q", again, err, version)
		}
		shows(changed, version)

		other.remove(key)
		s.missing(key)
		stale(version, store.ErrNotFound)
		if _, err := s.Put(s.ctx, s.record(key), store.Precondition{Present: true}); !errors.Is(err, store.ErrNotFound) {
			s.Errorf("replacing a record deleted elsewhere: %v, want ErrNotFound", err)
		}
		if err := s.Delete(s.ctx, key, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
			s.Errorf("Delete of a record deleted elsewhere: %v, want ErrNotFound", err)
		}

		again := s.record(key)
		created := fresh(other.put(again, store.Precondition{Absent: true}), fmt.Sprint("created again elsewhere, round ", round))
		stale(version, store.ErrConflict)
		stale(old, store.ErrConflict)
		shows(again, created)
		if _, err := s.Put(s.ctx, s.record(key), store.Precondition{Absent: true}); !errors.Is(err, store.ErrExists) {
			s.Errorf("creating a record created elsewhere: %v, want ErrExists", err)
		}
		next := s.record(key)
		next.Created = again.Created
		shows(next, fresh(s.put(next, store.Precondition{Version: created}), fmt.Sprint("replaced here, round ", round)))
		other.remove(key)
	}
}

// askRacingElsewhere lets writers of two processes race: a lock within one
// process is not enough.
func askRacingElsewhere(s *subject) {
	s.skipIfRacy()
	other := s.elsewhere()
	by := func(racer int) *subject { return []*subject{s, other}[racer%2] }
	for round := range rounds {
		key := keyOf(fmt.Sprintf("org:acme/round:%d", round), "key")
		var recs [racers]*store.Record
		var versions [racers]string
		compete := func(loser error, pre store.Precondition) (version string) {
			winners := s.race(loser, func(racer int) (err error) {
				recs[racer] = s.record(key)
				versions[racer], err = by(racer).Put(s.ctx, recs[racer], pre)
				return err
			})
			if len(winners) != 1 {
				s.Fatalf("%d of %d writers in two processes won with %+v", len(winners), racers, pre)
			}
			for _, reader := range []*subject{s, other} {
				reader.holds(recs[winners[0]], versions[winners[0]])
			}
			return versions[winners[0]]
		}
		version := compete(store.ErrExists, store.Precondition{Absent: true})
		version = compete(store.ErrConflict, store.Precondition{Version: version})
		winners := s.race(store.ErrNotFound, func(racer int) error {
			return by(racer).Delete(s.ctx, key, store.Precondition{Version: version})
		})
		if len(winners) != 1 {
			s.Fatalf("%d of %d in two processes deleted the same version", len(winners), racers)
		}
	}
}

// askClosedElsewhere closes one of two stores over the same backend.
func askClosedElsewhere(s *subject) {
	other := s.elsewhere()
	rec := s.record(keyOf("org:acme", "key"))
	version := other.put(rec, store.Precondition{})
	if err := other.Close(s.ctx); err != nil {
		s.Errorf("Close: %v", err)
	}
	s.holds(rec, version)
	s.holds(rec, s.put(rec, store.Precondition{Version: version}))
	late := *s
	late.Store = s.Other(s.T, s.Store)
	late.holds(rec, version)
}
