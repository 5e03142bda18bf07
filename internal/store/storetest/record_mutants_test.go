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

// recordMutants break one rule each. The name says which, and before the colon which
// question must notice.
var recordMutants = map[string]func(s store.Store) *mutant{
	"Basics:replacing forgets Created": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			if pre == (store.Precondition{}) {
				s.Delete(ctx, rec.Key, pre)
			}
			return s.Put(ctx, rec, pre)
		}}
	},
	"Basics:deleting nothing succeeds": func(s store.Store) *mutant {
		return &mutant{Store: s, delete: func(ctx context.Context, key store.Key, pre store.Precondition) error {
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
		return &mutant{Store: s, get: func(ctx context.Context, key store.Key) (*store.Record, error) {
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
			if current, err := s.Get(ctx, rec.Key); err == nil {
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
		return &mutant{Store: s, get: func(ctx context.Context, key store.Key) (*store.Record, error) {
			rec, err := s.Get(ctx, key)
			if rec != nil {
				rec.Payload = bytes.TrimRight(rec.Payload, "\x00")
			}
			return rec, err
		}}
	},
	"HostileNames:case is ignored": func(s store.Store) *mutant {
		fold := func(key store.Key) store.Key {
			if strings.EqualFold(string(key.ID), "aa") {
				key.ID = "aa"
			}
			return key
		}
		return &mutant{Store: s,
			get: func(ctx context.Context, key store.Key) (*store.Record, error) { return s.Get(ctx, fold(key)) },
			put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
				folded := *rec
				folded.Key = fold(rec.Key)
				return s.Put(ctx, &folded, pre)
			},
		}
	},
	"Preconditions:any version will do": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			if pre.Version != "" {
				pre = store.Precondition{Present: true}
			}
			return s.Put(ctx, rec, pre)
		}}
	},
	"Preconditions:a delete asks nothing": func(s store.Store) *mutant {
		return &mutant{Store: s, delete: func(ctx context.Context, key store.Key, _ store.Precondition) error {
			return s.Delete(ctx, key, store.Precondition{})
		}}
	},
	"Versions:they count from 1 after a delete": func(s store.Store) *mutant {
		var mu sync.Mutex
		writes := make(map[store.Key]int)
		letters := func(key store.Key) string { return strings.Repeat("i", writes[key]) }
		return &mutant{Store: s,
			put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				_, err := s.Put(ctx, rec, store.Precondition{Absent: pre.Absent, Present: pre.Present})
				writes[rec.Key]++
				return letters(rec.Key), err
			},
			get: func(ctx context.Context, key store.Key) (*store.Record, error) {
				mu.Lock()
				defer mu.Unlock()
				rec, err := s.Get(ctx, key)
				if rec != nil {
					rec.Version = letters(key)
				}
				return rec, err
			},
			delete: func(ctx context.Context, key store.Key, pre store.Precondition) error {
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
	"RepeatedWriteID:once is not looked at": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			pre.Once = false
			return s.Put(ctx, rec, pre)
		}}
	},
	"EndedContext:it is not looked at": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			return s.Put(context.WithoutCancel(ctx), rec, pre)
		}}
	},
	"Ownership:a record is shared": func(s store.Store) *mutant {
		var mu sync.Mutex
		given := make(map[string]*store.Record)
		return &mutant{Store: s, get: func(ctx context.Context, key store.Key) (*store.Record, error) {
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
		return &mutant{Store: s, close: func() error { return nil }}
	},
	"RacingReplacers:checked and written apart": checkedApart,
	"RacingCreators:checked and written apart":  checkedApart,
}
