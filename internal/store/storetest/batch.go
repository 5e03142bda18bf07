package storetest

import (
	"context"
	"errors"
	"fmt"

	"credbus/internal/store"
)

// askBatch gets several records at once, where a store has a way of its own to.
func askBatch(s *subject) {
	if !store.CanBatch(s.Store, "org:acme") {
		s.Skip("this store gets records one by one")
	}
	batcher := s.Store.(store.Batcher)
	scopes := []string{"org:acme", "org:Acme", "org:acme/team:eng"}
	recs := make(map[store.Key]*store.Record)
	var keys []store.Key
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
	keys = append(keys, keys[:4]...) // some twice
	for _, n := range []int{0, 1, 2, 19, 20, 21, len(keys)} {
		found, err := batcher.GetBatch(s.ctx, keys[:n])
		if err != nil || len(found) != n {
			s.Fatalf("GetBatch of %d keys found %d, %v", n, len(found), err)
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
		for i := range found { // the caller's to wipe: the next batch has its own
			if rec := found[i].Record; rec != nil {
				clear(rec.Payload)
				rec.Data.Wipe()
			}
		}
	}
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	if found, err := batcher.GetBatch(ended, keys); !errors.Is(err, ended.Err()) || len(found) != 0 {
		s.Errorf("GetBatch with an ended context: %d found, %v", len(found), err)
	}
	s.Close()
	if found, err := batcher.GetBatch(s.ctx, keys); !errors.Is(err, store.ErrClosed) || len(found) != 0 {
		s.Errorf("GetBatch after Close: %d found, %v", len(found), err)
	}
}
