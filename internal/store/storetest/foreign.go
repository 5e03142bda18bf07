package storetest

import (
	"errors"

	"credbus/internal/store"
	"credbus/subjects"
)

// askForeign lets another program, without the keyring, put credentials into
// the backend: a new one, and one in the place of a sealed record. A store in
// native form must serve them. Any other must show nothing of them, because
// anybody with access to the backend could have put them there.
func askForeign(s *subject) {
	if s.Plant == nil {
		s.Skip("no other program writes to the backend of this store")
	}
	ours, fresh, over := keyOf("org:acme", "ours"), keyOf("org:acme", "planted"), keyOf("org:acme", "over")
	kept := s.record(ours)
	version := s.put(kept, store.Precondition{})
	s.put(s.record(over), store.Precondition{})
	for _, key := range []subjects.Target{fresh, over} {
		s.Plant(s.T, s.Store, key, "planted by "+string(key.ID))
		if s.Features.Native {
			s.servesPlanted(key)
			continue
		}
		s.refusesPlanted(key)
		if _, err := s.Put(s.ctx, s.record(key), store.Precondition{Absent: true}); !errors.Is(err, store.ErrExists) {
			s.Errorf("creating %v, which another program planted: %v, want ErrExists", key, err)
		}
	}
	s.holds(kept, version)
	// Its owner can replace and remove it.
	next := s.record(fresh)
	replaced := s.put(next, store.Precondition{Present: true})
	next.Created = s.get(fresh).Created // the provider may know the time of the plant
	s.holds(next, replaced)
	s.remove(over)
	s.missing(over)
}

// founds returns the results of Get, and of GetMulti if there is one, for a
// key.
func (s *subject) founds(key subjects.Target) (founds []store.Found) {
	s.Helper()
	rec, err := s.Get(s.ctx, key)
	founds = append(founds, store.Found{Record: rec, Err: err})
	if store.CanGetMulti(s.Store, key.Scope) {
		several, err := s.Store.(store.MultiGetter).GetMulti(s.ctx, []subjects.Target{key})
		if err != nil || len(several) != 1 {
			s.Fatalf("GetMulti of %v: %d found, %v", key, len(several), err)
		}
		founds = append(founds, several[0])
	}
	return founds
}

// listed returns what List shows of a key.
func (s *subject) listed(key subjects.Target) *store.Record {
	s.Helper()
	for _, rec := range s.walk(key.Scope, 2) {
		if rec.Target == key {
			return &rec
		}
	}
	s.Fatalf("List does not show %v", key)
	return nil
}

func (s *subject) servesPlanted(key subjects.Target) {
	s.Helper()
	for _, found := range s.founds(key) {
		rec := found.Record
		if found.Err != nil || rec == nil || len(rec.Data) != 1 {
			s.Errorf("%v, planted by another program: %v, %v; want its value", key, rec, found.Err)
			continue
		}
		if got := rec.Data[subjects.ValueName]; string(got.Bytes()) != "planted by "+string(key.ID) {
			s.Errorf("the value of %v has %d bytes and is not the planted one", key, got.Len())
		}
		if rec.WriteID != "" || !rec.Revision.IsZero() || rec.Version == "" {
			s.Errorf("%v, planted by another program, has write %q, revision %v, version %q", key, rec.WriteID, rec.Revision, rec.Version)
		}
	}
	if rec := s.listed(key); rec.Damaged != "" {
		s.Errorf("List shows the planted %v as damaged: %s", key, rec.Damaged)
	}
}

func (s *subject) refusesPlanted(key subjects.Target) {
	s.Helper()
	for _, found := range s.founds(key) {
		if !errors.Is(found.Err, store.ErrDamaged) || found.Record != nil {
			s.Errorf("%v, planted without the keyring: %v, %v; want ErrDamaged", key, found.Record, found.Err)
		}
	}
	rec := s.listed(key)
	if rec.Damaged == "" {
		s.Errorf("List shows the planted %v as sound", key)
	}
	if diff := diffMetadata(rec.Metadata, subjects.Metadata{Created: rec.Created, Modified: rec.Modified}); diff != "" || len(rec.Proof) > 0 || rec.WriteID != "" {
		s.Errorf("List shows the planted record with %v: %s, write %q", key, diff, rec.WriteID)
	}
}
