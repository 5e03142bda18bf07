package storetest

import (
	"context"
	"errors"
	"fmt"

	"credbus/internal/store"
	"credbus/subjects"
)

// askGetMulti gets several records at once, if the store is a
// store.MultiGetter.
func askGetMulti(s *subject) {
	if !store.CanGetMulti(s.Store, "org:acme") {
		s.Skip("this store gets records one by one")
	}
	getter := s.Store.(store.MultiGetter)
	scopes := []string{"org:acme", "org:Acme", "org:acme/team:eng"}
	recs := make(map[subjects.Target]*store.Record)
	var keys []subjects.Target
	for i := range 30 {
		for _, id := range []string{"there", "THERE", "missing"} {
			key := keyOf(scopes[i%len(scopes)], fmt.Sprintf("%s-%d", id, i))
			keys = append(keys, key)
			if id == "missing" {
				continue
			}
			recs[key] = s.record(key)
			recs[key].Version = s.put(recs[key], store.Precondition{})
		}
	}
	damaged := keyOf("org:acme", "there-0")
	if s.Damage != nil {
		s.Damage(s.T, s.Store, damaged)
	}
	keys = append(keys, keys[:4]...) // some keys twice
	for _, n := range []int{0, 1, 2, 19, 20, 21, len(keys)} {
		found, err := getter.GetMulti(s.ctx, keys[:n])
		if err != nil || len(found) != n {
			s.Fatalf("GetMulti of %d keys found %d, %v", n, len(found), err)
		}
		for i, key := range keys[:n] {
			got := found[i]
			switch want := recs[key]; {
			case s.Damage != nil && key == damaged:
				if !errors.Is(got.Err, store.ErrDamaged) || got.Record != nil {
					s.Errorf("the damaged %v = %v, %v; want ErrDamaged", key, got.Record, got.Err)
				}
			case want == nil:
				if !errors.Is(got.Err, store.ErrNotFound) || got.Record != nil {
					s.Errorf("the missing %v = %v, %v; want ErrNotFound", key, got.Record, got.Err)
				}
			case got.Err != nil || got.Record == nil:
				s.Errorf("%v = %v, %v", key, got.Record, got.Err)
			default:
				s.same(got.Record, want, want.Version)
				if diff := diffValues(got.Record, want); diff != "" {
					s.Errorf("%v: %s", key, diff)
				}
			}
		}
		for i := range found { // the caller may wipe: the next call returns its own
			if rec := found[i].Record; rec != nil {
				clear(rec.Payload)
				rec.Data.Wipe()
			}
		}
	}
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	if found, err := getter.GetMulti(ended, keys); !errors.Is(err, ended.Err()) || len(found) != 0 {
		s.Errorf("GetMulti with an ended context: %d found, %v", len(found), err)
	}
	s.close()
	if found, err := getter.GetMulti(s.ctx, keys); !errors.Is(err, store.ErrClosed) || len(found) != 0 {
		s.Errorf("GetMulti after Close: %d found, %v", len(found), err)
	}
}
