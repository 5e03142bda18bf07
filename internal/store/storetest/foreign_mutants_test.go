package storetest_test

import (
	"context"

	"credbus/internal/store"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// foreignMutants break rules for records that other programs put into a backend.
var foreignMutants = map[string]func(s store.Store) *mutant{
	"Foreign: Get returns it": func(s store.Store) *mutant { return &mutant{Store: s} },
	"Foreign: a list shows it": func(s store.Store) *mutant {
		m := strict(s)
		m.list = nil
		return m
	},
	"Foreign: a list shows its metadata": func(s store.Store) *mutant {
		m := strict(s)
		m.list = func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			for i := range page.Records {
				if page.Records[i].WriteID == "" {
					page.Records[i].Damaged = store.NotSealed
				}
			}
			return page, err
		}
		return m
	},
	"Foreign: GetMulti returns it": func(s store.Store) *mutant {
		m := strict(s)
		m.multi = multiple(s, func(found []store.Found) []store.Found { return found }).multi
		return m
	},
	"Foreign: it is missing": func(s store.Store) *mutant {
		m := strict(s)
		m.get = func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			rec, err := s.Get(ctx, key)
			if err == nil && rec.Data != nil {
				return nil, store.ErrNotFound
			}
			return rec, err
		}
		return m
	},
	"Foreign: a native store refuses it": func(s store.Store) *mutant {
		m := strict(s)
		m.features = storetest.Features{Native: true}
		return m
	},
}

// strict returns a correct store in sealed form: records that are not sealed are
// damaged.
func strict(s store.Store) *mutant {
	return &mutant{Store: s,
		get: func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			rec, err := s.Get(ctx, key)
			if err == nil && rec.WriteID == "" {
				return nil, store.ErrDamaged
			}
			return rec, err
		},
		list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			for i, rec := range page.Records {
				if rec.WriteID == "" {
					page.Records[i] = store.Record{Target: rec.Target, Version: rec.Version, Damaged: store.NotSealed}
				}
			}
			return page, err
		},
	}
}
