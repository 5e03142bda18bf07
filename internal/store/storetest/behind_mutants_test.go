package storetest_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// behindMutants break rules for a store whose reads may be behind. The manager relies
// on these rules.
var behindMutants = map[string]func(s store.Store) *mutant{
	"Behind: the reader is never behind": func(s store.Store) *mutant {
		return reads(s, func(m *mutant) { m.get, m.list = s.Get, s.List })
	},
	"Behind: an old value has the newest version": func(s store.Store) *mutant {
		return changes(s, func(old, newest *store.Record) { old.Version = newest.Version })
	},
	"Behind: an old value has the newest revision": func(s store.Store) *mutant {
		return changes(s, func(old, newest *store.Record) { old.Revision = newest.Revision })
	},
	"Behind: the newest metadata has an old version": func(s store.Store) *mutant {
		return changes(s, func(old, newest *store.Record) { old.Metadata = newest.Metadata })
	},
	"Behind: old and new cannot be distinguished": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			own := *rec
			own.Revision = subjects.Revision{Stream: 1, Seq: 1}
			return s.Put(ctx, &own, pre)
		}}
	},
	"Behind: the older version counts as newer": func(s store.Store) *mutant {
		return orders(s, func(truth *order, a, b string) (newer, known bool) {
			newer, known = truth.newer(a, b)
			return !newer && a != b, known
		})
	},
	"Behind: an invalid version is ordered": func(s store.Store) *mutant {
		return orders(s, func(truth *order, a, b string) (newer, known bool) {
			newer, _ = truth.newer(a, b)
			return newer, true
		})
	},
	"Behind: a version is newer than itself": func(s store.Store) *mutant {
		return orders(s, func(truth *order, a, b string) (newer, known bool) {
			newer, known = truth.newer(a, b)
			return newer || a == b, known
		})
	},
	"Behind: a precondition is checked against an old answer": func(s store.Store) *mutant {
		return reads(s, func(m *mutant) {
			m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
				current, err := m.get(ctx, rec.Target)
				if err != nil && err != store.ErrNotFound {
					return "", err
				}
				if err := pre.Check(current); err != nil {
					return "", err
				}
				return s.Put(ctx, rec, store.Precondition{})
			}
		})
	},
	"Behind: a delete is checked against an old answer": func(s store.Store) *mutant {
		return reads(s, func(m *mutant) {
			m.delete = func(ctx context.Context, key subjects.Target, pre store.Precondition) error {
				current, err := m.get(ctx, key)
				if err != nil {
					return err
				}
				if err := pre.Check(current); err != nil {
					return err
				}
				return s.Delete(ctx, key, store.Precondition{})
			}
		})
	},
}

// reads returns a store whose reader is broken by behind.
func reads(s store.Store, behind func(reader *mutant)) *mutant {
	return &mutant{Store: s, behind: behind}
}

// changes returns a store whose reader calls mix with its old answer and the newest
// record.
func changes(s store.Store, mix func(old, newest *store.Record)) *mutant {
	return reads(s, func(m *mutant) {
		get := m.get
		m.get = func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			old, err := get(ctx, key)
			newest, _ := s.Get(ctx, key)
			if old != nil && newest != nil {
				mix(old, newest)
			}
			return old, err
		}
	})
}

// order records the order in which a store made its versions.
type order struct {
	mu   sync.Mutex
	made []string
}

// newer returns the truth about every version.
func (o *order) newer(a, b string) (newer, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	one, other := slices.Index(o.made, a), slices.Index(o.made, b)
	return one > other, one >= 0 && other >= 0
}

// orders returns a store that orders its versions. answer gets the truth and may
// change it.
func orders(s store.Store, answer func(truth *order, a, b string) (newer, known bool)) *mutant {
	truth := new(order)
	m := &mutant{Store: s, newer: func(a, b string) (newer, known bool) { return answer(truth, a, b) }}
	m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
		version, err := s.Put(ctx, rec, pre)
		if err == nil {
			truth.mu.Lock()
			defer truth.mu.Unlock()
			truth.made = append(truth.made, version)
		}
		return version, err
	}
	m.behind = func(reader *mutant) { reader.newer = m.newer }
	return m
}

// behindOf returns writer, and a reader that is behind: it reads the state of the last
// call of catchUp.
func behindOf(writer *mutant) (store.Store, store.Store, func()) {
	snapshot := memory.New()
	known := make(map[subjects.Target]*store.Record)
	reader := &mutant{Store: writer, features: writer.features}
	reader.get = func(ctx context.Context, key subjects.Target) (*store.Record, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rec := known[key]
		if rec == nil {
			return nil, store.ErrNotFound
		}
		own := *rec
		return &own, nil
	}
	reader.list = func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
		page, err := snapshot.List(ctx, opts)
		for i, rec := range page.Records {
			page.Records[i] = *known[rec.Target]
			page.Records[i].Payload, page.Records[i].Data = nil, nil
		}
		return page, err
	}
	reader.close = func(context.Context) error { return nil }
	catchUp := func() {
		snapshot = memory.New()
		clear(known)
		page, _ := writer.List(context.Background(), store.ListOptions{Limit: 1000})
		for _, listed := range page.Records {
			if rec, err := writer.Get(context.Background(), listed.Target); err == nil {
				known[rec.Target] = rec
				_, _ = snapshot.Put(context.Background(), rec, store.Precondition{})
			}
		}
	}
	if writer.behind != nil {
		writer.behind(reader)
	}
	return writer, reader, catchUp
}

// A correct store passes, whether or not its versions have an order.
func TestBehind(t *testing.T) {
	for name, of := range map[string]func() *mutant{
		"by revision": func() *mutant { return &mutant{Store: memory.New()} },
		"by version":  func() *mutant { return orders(memory.New(), (*order).newer) },
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, storetest.Harness{
				Open:     func(*testing.T) store.Store { return of() },
				Behind:   func(*testing.T) (writer, reader store.Store, catchUp func()) { return behindOf(of()) },
				Features: storetest.Features{WalkRecords: 300},
			})
		})
	}
}
