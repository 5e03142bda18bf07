package storetest_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// roomMutants break rules for a store that is full, or whose place was replaced.
var roomMutants = map[string]func(s store.Store) *mutant{
	"Full: it is reported as an outage": func(s store.Store) *mutant {
		return filled(s, func(context.Context, subjects.Target) error {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, store.ErrFull)
		})
	},
	"Full: the error is not ErrFull": func(s store.Store) *mutant {
		return filled(s, func(context.Context, subjects.Target) error { return context.Canceled })
	},
	"Full: the old record is deleted first": func(s store.Store) *mutant {
		return filled(s, func(ctx context.Context, key subjects.Target) error {
			s.Delete(ctx, key, store.Precondition{}) //nolint:errcheck // there may be none
			return store.ErrFull
		})
	},
	"Full: it stays full": func(s store.Store) *mutant {
		m := filled(s, func(context.Context, subjects.Target) error { return store.ErrFull })
		fill := m.fill
		m.fill = func() (makeRoom func()) { fill(); return func() {} }
		return m
	},
	"Replaced: an empty place is the same store": func(s store.Store) *mutant {
		return replaced(s, func() store.Store { return memory.New() })
	},
	"Identity: each client has another one": func(s store.Store) *mutant {
		return &mutant{Store: s, identity: func(ctx context.Context) (string, error) { return "of this client", ctx.Err() }}
	},
	"Identity: all places have the same": func(s store.Store) *mutant {
		return &mutant{Store: s, identity: func(ctx context.Context) (string, error) { return "the store", ctx.Err() }}
	},
	"Identity: it is unknown": func(s store.Store) *mutant {
		return &mutant{Store: s, identity: func(ctx context.Context) (string, error) { return "", ctx.Err() }}
	},
	"Identity: the context is ignored": func(s store.Store) *mutant {
		return &mutant{Store: s, identity: func(ctx context.Context) (string, error) {
			return s.(store.Identified).Identity(context.WithoutCancel(ctx))
		}}
	},
	"Replaced: the store goes on in the old place": func(s store.Store) *mutant {
		return replaced(s, func() store.Store { return s })
	},
}

// filled returns a store whose writes return the error of refuse while it is full.
func filled(s store.Store, refuse func(context.Context, subjects.Target) error) *mutant {
	var full atomic.Bool
	return &mutant{Store: s,
		put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			if full.Load() {
				return "", refuse(ctx, rec.Target)
			}
			return s.Put(ctx, rec, pre)
		},
		fill: func() (makeRoom func()) { full.Store(true); return func() { full.Store(false) } },
	}
}

// replaced returns a store that answers from the result of by while its place is
// replaced.
func replaced(s store.Store, by func() store.Store) *mutant {
	var place atomic.Pointer[store.Store]
	place.Store(&s)
	now := func() store.Store { return *place.Load() }
	return &mutant{Store: s,
		get: func(ctx context.Context, key subjects.Target) (*store.Record, error) { return now().Get(ctx, key) },
		put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			return now().Put(ctx, rec, pre)
		},
		delete: func(ctx context.Context, key subjects.Target, pre store.Precondition) error {
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
