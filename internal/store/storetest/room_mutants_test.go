package storetest_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"credbus/internal/store"
	"credbus/internal/store/memory"
)

// roomMutants break what holds for a store without room, or in another's place.
var roomMutants = map[string]func(s store.Store) *mutant{
	"Full: no room is an outage": func(s store.Store) *mutant {
		return filled(s, func(context.Context, store.Key) error {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, store.ErrFull)
		})
	},
	"Full: no room is of no kind": func(s store.Store) *mutant {
		return filled(s, func(context.Context, store.Key) error { return context.Canceled })
	},
	"Full: what was there goes first": func(s store.Store) *mutant {
		return filled(s, func(ctx context.Context, key store.Key) error {
			s.Delete(ctx, key, store.Precondition{}) //nolint:errcheck // there may be none
			return store.ErrFull
		})
	},
	"Full: there is never room again": func(s store.Store) *mutant {
		m := filled(s, func(context.Context, store.Key) error { return store.ErrFull })
		fill := m.fill
		m.fill = func() (makeRoom func()) { fill(); return func() {} }
		return m
	},
	"Replaced: an empty place is the same store": func(s store.Store) *mutant {
		return replaced(s, func() store.Store { return memory.New() })
	},
	"Identity: each client has its own": func(s store.Store) *mutant {
		return &mutant{Store: s, identity: func(ctx context.Context) (string, error) { return "of this client", ctx.Err() }}
	},
	"Identity: all places have one": func(s store.Store) *mutant {
		return &mutant{Store: s, identity: func(ctx context.Context) (string, error) { return "the store", ctx.Err() }}
	},
	"Identity: it is not known": func(s store.Store) *mutant {
		return &mutant{Store: s, identity: func(ctx context.Context) (string, error) { return "", ctx.Err() }}
	},
	"Identity: the context is not heeded": func(s store.Store) *mutant {
		return &mutant{Store: s, identity: func(ctx context.Context) (string, error) {
			return s.(store.Identified).Identity(context.WithoutCancel(ctx))
		}}
	},
	"Replaced: it goes on where it was": func(s store.Store) *mutant {
		return replaced(s, func() store.Store { return s })
	},
}

// filled is a store whose writes fail with refuse while it has no room.
func filled(s store.Store, refuse func(context.Context, store.Key) error) *mutant {
	var full atomic.Bool
	return &mutant{Store: s,
		put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			if full.Load() {
				return "", refuse(ctx, rec.Key)
			}
			return s.Put(ctx, rec, pre)
		},
		fill: func() (makeRoom func()) { full.Store(true); return func() { full.Store(false) } },
	}
}

// replaced is a store that answers from what by is while its place is taken.
func replaced(s store.Store, by func() store.Store) *mutant {
	var place atomic.Pointer[store.Store]
	place.Store(&s)
	now := func() store.Store { return *place.Load() }
	return &mutant{Store: s,
		get: func(ctx context.Context, key store.Key) (*store.Record, error) { return now().Get(ctx, key) },
		put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			return now().Put(ctx, rec, pre)
		},
		delete: func(ctx context.Context, key store.Key, pre store.Precondition) error {
			return now().Delete(ctx, key, pre)
		},
		list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) { return now().List(ctx, opts) },
		replace: func() (back func()) {
			other := by()
			place.Store(&other)
			return func() { place.Store(&s) }
		},
	}
}
