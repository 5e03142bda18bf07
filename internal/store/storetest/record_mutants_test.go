package storetest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// recordMutants break rules for single records.
var recordMutants = map[string]func(s store.Store) *mutant{
	"Basics:replacing forgets Created": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			if pre == (store.Precondition{}) {
				s.Delete(ctx, rec.Target, pre)
			}
			return s.Put(ctx, rec, pre)
		}}
	},
	"Basics:deleting nothing succeeds": func(s store.Store) *mutant {
		return &mutant{Store: s, delete: func(ctx context.Context, key subjects.Target, pre store.Precondition) error {
			if err := s.Delete(ctx, key, pre); err != store.ErrNotFound || pre.Present || pre.Version != "" {
				return err
			}
			return nil
		}}
	},
	"Metadata:the proof is lost": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			bare := *rec
			bare.Proof = nil
			return s.Put(ctx, &bare, pre)
		}}
	},
	"Metadata:times are cut to seconds": func(s store.Store) *mutant {
		return &mutant{Store: s, get: func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			rec, err := s.Get(ctx, key)
			if rec != nil {
				rec.Expires = rec.Expires.Truncate(time.Second)
			}
			return rec, err
		}}
	},
	"Metadata:tags are made lower case": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			lower := *rec
			lower.Tags = make(map[string]string)
			for key, value := range rec.Tags {
				lower.Tags[strings.ToLower(key)] = value
			}
			return s.Put(ctx, &lower, pre)
		}}
	},
	"Revisions:a replacement keeps the first": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			next := *rec
			if current, err := s.Get(ctx, rec.Target); err == nil {
				next.Revision = current.Revision
			}
			return s.Put(ctx, &next, pre)
		}}
	},
	"Revisions:a list shows none": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			for i := range page.Records {
				page.Records[i].Revision = subjects.Revision{}
			}
			return page, err
		}}
	},
	"Payloads:bytes are trimmed": func(s store.Store) *mutant {
		return &mutant{Store: s, get: func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			rec, err := s.Get(ctx, key)
			if rec != nil {
				rec.Payload = bytes.TrimRight(rec.Payload, "\x00")
			}
			return rec, err
		}}
	},
	"HostileNames:case is ignored": func(s store.Store) *mutant {
		fold := func(key subjects.Target) subjects.Target {
			if strings.EqualFold(string(key.ID), "aa") {
				key.ID = "aa"
			}
			return key
		}
		return &mutant{Store: s,
			get: func(ctx context.Context, key subjects.Target) (*store.Record, error) { return s.Get(ctx, fold(key)) },
			put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
				folded := *rec
				folded.Target = fold(rec.Target)
				return s.Put(ctx, &folded, pre)
			},
		}
	},
	"Preconditions:any version matches": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			if pre.Version != "" {
				pre = store.Precondition{Present: true}
			}
			return s.Put(ctx, rec, pre)
		}}
	},
	"Preconditions:a delete ignores them": func(s store.Store) *mutant {
		return &mutant{Store: s, delete: func(ctx context.Context, key subjects.Target, _ store.Precondition) error {
			return s.Delete(ctx, key, store.Precondition{})
		}}
	},
	"Versions:they start from 1 again after a delete": func(s store.Store) *mutant {
		var mu sync.Mutex
		writes := make(map[subjects.Target]int)
		letters := func(key subjects.Target) string { return strings.Repeat("i", writes[key]) }
		return &mutant{Store: s,
			put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				_, err := s.Put(ctx, rec, store.Precondition{Absent: pre.Absent, Present: pre.Present})
				writes[rec.Target]++
				return letters(rec.Target), err
			},
			get: func(ctx context.Context, key subjects.Target) (*store.Record, error) {
				mu.Lock()
				defer mu.Unlock()
				rec, err := s.Get(ctx, key)
				if rec != nil {
					rec.Version = letters(key)
				}
				return rec, err
			},
			delete: func(ctx context.Context, key subjects.Target, pre store.Precondition) error {
				mu.Lock()
				defer mu.Unlock()
				delete(writes, key)
				return s.Delete(ctx, key, pre)
			},
		}
	},
	"RepeatedWriteID:a repeat is written again": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			fresh := *rec
			fresh.WriteID = rand.Text()
			return s.Put(ctx, &fresh, pre)
		}}
	},
	"RepeatedWriteID:the store ignores Once": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			pre.Once = false
			return s.Put(ctx, rec, pre)
		}}
	},
	"EndedContext:the store ignores it": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			return s.Put(context.WithoutCancel(ctx), rec, pre)
		}}
	},
	"Ownership:a record is shared": func(s store.Store) *mutant {
		var mu sync.Mutex
		given := make(map[string]*store.Record)
		return &mutant{Store: s, get: func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			rec, err := s.Get(ctx, key)
			if rec != nil && given[rec.Version] != nil {
				rec = given[rec.Version]
			} else if rec != nil {
				given[rec.Version] = rec
			}
			return rec, err
		}}
	},
	"Close:reads go on": func(s store.Store) *mutant {
		return &mutant{Store: s, close: func(context.Context) error { return nil }}
	},
	"CloseWithoutTime:it does nothing": func(s store.Store) *mutant {
		return &mutant{Store: s, close: func(ctx context.Context) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return s.Close(ctx)
		}}
	},
	"CloseWhileACallHangs:it waits too long": func(s store.Store) *mutant {
		return &mutant{Store: s, close: func(ctx context.Context) error { return s.Close(context.WithoutCancel(ctx)) }}
	},
	"CloseWhileACallHangs:it does not wait": func(s store.Store) *mutant {
		return &mutant{Store: s, close: func(ctx context.Context) error {
			go s.Close(ctx) //nolint:errcheck // it is a mutant
			return nil
		}}
	},
	"RacingReplacers:checked and written apart": checkedApart,
	"RacingCreators:checked and written apart":  checkedApart,
}
