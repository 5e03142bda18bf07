package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"credbus/internal/store"
	"credbus/subjects"
)

const (
	racers = 8
	rounds = 20
)

// race calls attempt from all racers at once, and returns how many of them had
// no error. Every other error must be loser.
func (s *subject) race(loser error, attempt func(racer int) error) (winners []int) {
	s.Helper()
	var (
		mu    sync.Mutex
		calls sync.WaitGroup
		start = make(chan struct{})
	)
	for racer := range racers {
		calls.Go(func() {
			<-start
			err := attempt(racer)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				winners = append(winners, racer)
			case !errors.Is(err, loser):
				s.Errorf("a racer lost with %v, want %v", err, loser)
			}
		})
	}
	close(start)
	calls.Wait()
	return winners
}

func (s *subject) skipIfRacy() {
	if s.Features.RacyPreconditions {
		s.Skip("this backend has no conditional write: several concurrent writers may win")
	}
}

func askRacingReplacers(s *subject) {
	s.skipIfRacy()
	key := keyOf("org:acme", "key")
	version := s.put(s.record(key), store.Precondition{})
	for range rounds {
		var recs [racers]*store.Record
		var versions [racers]string
		winners := s.race(store.ErrConflict, func(racer int) (err error) {
			recs[racer] = s.record(key)
			versions[racer], err = s.Put(s.ctx, recs[racer], store.Precondition{Version: version})
			return err
		})
		if len(winners) != 1 {
			s.Fatalf("%d of %d replaced the same version", len(winners), racers)
		}
		version = versions[winners[0]]
		s.holds(recs[winners[0]], version)
	}
}

func askRacingCreators(s *subject) {
	s.skipIfRacy()
	for round := range rounds {
		// A new scope each time, so that the parts that the store makes for a
		// scope are also made in a race.
		key := keyOf(fmt.Sprintf("org:acme/round:%d/team:eng", round), "key")
		var recs [racers]*store.Record
		var versions [racers]string
		winners := s.race(store.ErrExists, func(racer int) (err error) {
			recs[racer] = s.record(key)
			versions[racer], err = s.Put(s.ctx, recs[racer], store.Precondition{Absent: true})
			return err
		})
		if len(winners) != 1 {
			s.Fatalf("%d of %d created the same credential", len(winners), racers)
		}
		s.holds(recs[winners[0]], versions[winners[0]])
	}
}

func askRacingDeleters(s *subject) {
	s.skipIfRacy()
	key := keyOf("org:acme", "key")
	for range rounds {
		version := s.put(s.record(key), store.Precondition{Absent: true})
		winners := s.race(store.ErrNotFound, func(int) error {
			return s.Delete(s.ctx, key, store.Precondition{Version: version})
		})
		if len(winners) != 1 {
			s.Fatalf("%d of %d deleted the same version", len(winners), racers)
		}
		s.missing(key)
	}
}

// askRacingRetries sends one write many times at once, like a caller that gave
// up waiting. All must succeed, with one version.
func askRacingRetries(s *subject) {
	s.skipIfRacy()
	for round := range rounds {
		rec := s.record(keyOf("org:acme", fmt.Sprintf("key-%d", round)))
		var versions [racers]string
		winners := s.race(nil, func(racer int) (err error) {
			versions[racer], err = s.Put(s.ctx, rec, store.Precondition{Absent: true})
			return err
		})
		if len(winners) != racers {
			s.Fatalf("%d of %d copies of one write succeeded, want all", len(winners), racers)
		}
		for _, version := range versions {
			if version != versions[0] {
				s.Fatalf("one write was given the versions %q", versions)
			}
		}
		s.holds(rec, versions[0])
	}
}

// askReaders reads a credential while it is replaced: it must always exist, and
// never mix two writes.
func askReaders(s *subject) {
	key := keyOf("org:acme", "key")
	put := func(size int) {
		rec := s.record(key)
		rec.Description = rec.WriteID
		s.setContent(rec, bytes.Repeat([]byte(rec.WriteID), size/len(rec.WriteID)+1))
		if s.Features.Native { // nor may two values come from different writes
			rec.Data["write"] = subjects.NewSecret([]byte(rec.WriteID))
		}
		s.put(rec, store.Precondition{})
	}
	put(1000)

	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range racers / 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				rec, err := s.Get(s.ctx, key)
				if err != nil {
					s.Errorf("Get while the credential is replaced: %v", err)
					return
				}
				write := rec.Description
				content := s.contentOf(rec)
				first, last := content[:len(write)], content[len(content)-len(write):]
				if beside, ok := rec.Data["write"]; ok != s.Features.Native || ok && string(beside.Bytes()) != write {
					s.Errorf("Get returned values of several writes")
					return
				}
				if string(first) != write || string(last) != write || !s.Features.Managed && rec.WriteID != write {
					s.Errorf("Get returned parts of several writes")
					return
				}
				page, err := s.List(s.ctx, store.ListOptions{Scope: key.Scope, Limit: 10})
				if err != nil || len(page.Records) != 1 || page.Records[0].Damaged != "" {
					s.Errorf("List while the credential is replaced: %d records, %v", len(page.Records), err)
					return
				}
			}
		})
	}
	for write := range 5 * rounds {
		put(100 + write*600)
	}
	close(stop)
	readers.Wait()
}
