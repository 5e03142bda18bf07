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

// behindMutants break what the manager needs of a store whose reads are behind.
var behindMutants = map[string]func(s store.Store) *mutant{
	"Behind: it never is": func(s store.Store) *mutant {
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
	"Behind: nothing tells old from new": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			own := *rec
			own.Revision = subjects.Revision{Stream: 1, Seq: 1}
			return s.Put(ctx, &own, pre)
		}}
	},
	"Behind: the older version is called newer": func(s store.Store) *mutant {
		return orders(s, func(truth *order, a, b string) (newer, known bool) {
			newer, known = truth.newer(a, b)
			return !newer && a != b, known
		})
	},
	"Behind: what is no version is ordered": func(s store.Store) *mutant {
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
	"Behind: a precondition is judged by an old answer": func(s store.Store) *mutant {
		return reads(s, func(m *mutant) {
			m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
				current, err := m.get(ctx, rec.Key)
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
	"Behind: a delete is judged by an old answer": func(s store.Store) *mutant {
		return reads(s, func(m *mutant) {
			m.delete = func(ctx context.Context, key store.Key, pre store.Precondition) error {
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

// reads is a store of which a reader that is behind is broken.
func reads(s store.Store, behind func(reader *mutant)) *mutant {
	return &mutant{Store: s, behind: behind}
}

// changes is a store whose reader, where it is behind, mixes what it answers with what is
// there now.
func changes(s store.Store, mix func(old, newest *store.Record)) *mutant {
	return reads(s, func(m *mutant) {
		get := m.get
		m.get = func(ctx context.Context, key store.Key) (*store.Record, error) {
			old, err := get(ctx, key)
			newest, _ := s.Get(ctx, key)
			if old != nil && newest != nil {
				mix(old, newest)
			}
			return old, err
		}
	})
}

// order is what a store's versions were made in.
type order struct {
	mu   sync.Mutex
	made []string
}

// newer is right about every version.
func (o *order) newer(a, b string) (newer, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	one, other := slices.Index(o.made, a), slices.Index(o.made, b)
	return one > other, one >= 0 && other >= 0
}

// orders is a store that orders its versions, by what answer makes of the truth.
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

// behindOf is a writer, and a reader that is behind: it reads what was there when it
// caught up last.
func behindOf(writer *mutant) (store.Store, store.Store, func()) {
	snapshot := memory.New()
	known := make(map[store.Key]*store.Record)
	reader := &mutant{Store: writer, features: writer.features}
	reader.get = func(ctx context.Context, key store.Key) (*store.Record, error) {
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
			page.Records[i] = *known[rec.Key]
			page.Records[i].Payload, page.Records[i].Data = nil, nil
		}
		return page, err
	}
	reader.close = func() error { return nil }
	catchUp := func() {
		snapshot = memory.New()
		clear(known)
		page, _ := writer.List(context.Background(), store.ListOptions{Limit: 1000})
		for _, listed := range page.Records {
			if rec, err := writer.Get(context.Background(), listed.Key); err == nil {
				known[rec.Key] = rec
				_, _ = snapshot.Put(context.Background(), rec, store.Precondition{})
			}
		}
	}
	if writer.behind != nil {
		writer.behind(reader)
	}
	return writer, reader, catchUp
}

// A store that is sound passes, whether its versions have an order or not.
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
