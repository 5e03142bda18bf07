package storetest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// A mutant is a sound store of which one method breaks one rule.
type mutant struct {
	store.Store
	get    func(context.Context, store.Key) (*store.Record, error)
	put    func(context.Context, *store.Record, store.Precondition) (string, error)
	delete func(context.Context, store.Key, store.Precondition) error
	list   func(context.Context, store.ListOptions) (store.Page, error)
	close  func() error
	watch  func(context.Context, func(store.Change)) error
}

func (m *mutant) Get(ctx context.Context, key store.Key) (*store.Record, error) {
	if m.get == nil {
		return m.Store.Get(ctx, key)
	}
	return m.get(ctx, key)
}

func (m *mutant) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if m.put == nil {
		return m.Store.Put(ctx, rec, pre)
	}
	return m.put(ctx, rec, pre)
}

func (m *mutant) Delete(ctx context.Context, key store.Key, pre store.Precondition) error {
	if m.delete == nil {
		return m.Store.Delete(ctx, key, pre)
	}
	return m.delete(ctx, key, pre)
}

func (m *mutant) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	if m.list == nil {
		return m.Store.List(ctx, opts)
	}
	return m.list(ctx, opts)
}

func (m *mutant) Close() error {
	if m.close == nil {
		return m.Store.Close()
	}
	return m.close()
}

func (m *mutant) Watch(ctx context.Context, changed func(store.Change)) error {
	if m.watch == nil {
		return m.Store.(store.Watcher).Watch(ctx, changed)
	}
	return m.watch(ctx, changed)
}

// retell is a store whose watch tells what change makes of each change, and
// nothing where that is nil.
func retell(s store.Store, change func(told int, c store.Change) *store.Change) *mutant {
	return &mutant{Store: s, watch: func(ctx context.Context, changed func(store.Change)) error {
		told := 0
		return s.(store.Watcher).Watch(ctx, func(c store.Change) {
			if c := change(told, c); c != nil {
				changed(*c)
			}
			told++
		})
	}}
}

// mutants break one rule each. The name says which, and before the colon which
// question must notice.
var mutants = map[string]func(s store.Store) *mutant{
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
	"ListOrder:newest first": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			for i, j := 0, len(page.Records)-1; i < j; i, j = i+1, j-1 {
				page.Records[i], page.Records[j] = page.Records[j], page.Records[i]
			}
			return page, err
		}}
	},
	"ListScopes:a prefix is taken for a parent": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			all, err := s.List(ctx, store.ListOptions{Limit: 10_000})
			var page store.Page
			for _, rec := range all.Records {
				if strings.HasPrefix(string(rec.Scope), string(opts.Scope)) {
					page.Records = append(page.Records, rec)
				}
			}
			return page, err
		}}
	},
	"ListPages:the last record of a page is lost": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			if n := len(page.Records); page.Next != "" && n > 1 {
				page.Records = page.Records[:n-1]
			}
			return page, err
		}}
	},
	"ListCursors:a bad one begins anew": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			if err != nil && ctx.Err() == nil {
				opts.After = ""
				return s.List(ctx, opts)
			}
			return page, err
		}}
	},
	"ListUnderChurn:a cursor is an offset": func(s store.Store) *mutant {
		offsets := make(map[string]int) // walks of the suite come one after the other
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			offset := offsets[opts.After]
			all, err := s.List(ctx, store.ListOptions{Scope: opts.Scope, Limit: 10_000})
			rest := all.Records[min(offset, len(all.Records)):]
			page := store.Page{Records: rest[:min(opts.Limit, len(rest))]}
			if len(rest) > opts.Limit {
				page.Next = store.FormatCursor(page.Records[opts.Limit-1].Key)
				offsets[page.Next] = offset + opts.Limit
			}
			return page, err
		}}
	},
	"Watch:one change of many is lost": func(s store.Store) *mutant {
		return retell(s, func(told int, c store.Change) *store.Change {
			if told == 7 { // not in the burst, where a later one would make up for it
				return nil
			}
			return &c
		})
	},
	"Watch:it does not say when it stands": func(s store.Store) *mutant {
		return retell(s, func(_ int, c store.Change) *store.Change {
			if c.All {
				return nil
			}
			return &c
		})
	},
	"Watch:a delete is told as damage": func(s store.Store) *mutant {
		return retell(s, func(_ int, c store.Change) *store.Change {
			c.Gone = false
			return &c
		})
	},
	"Watch:all may always have changed": func(s store.Store) *mutant {
		return retell(s, func(int, store.Change) *store.Change { return &store.Change{All: true} })
	},
	"Watch:it outlives its store": func(s store.Store) *mutant {
		return &mutant{Store: s, watch: func(ctx context.Context, changed func(store.Change)) error {
			s.(store.Watcher).Watch(ctx, changed)
			<-ctx.Done()
			return ctx.Err()
		}}
	},
	"Basics:lists show payloads": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			for i := range page.Records {
				page.Records[i].Payload = []byte("sealed")
			}
			return page, err
		}}
	},
}

// checkedApart looks at the precondition first and writes later.
func checkedApart(s store.Store) *mutant {
	return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
		current, _ := s.Get(ctx, rec.Key)
		if err := pre.Check(current); err != nil {
			return "", err
		}
		time.Sleep(time.Millisecond) // the window in which another writer checks as well
		return s.Put(ctx, rec, store.Precondition{})
	}}
}

const mutantVariable = "CREDBUS_TEST_STORETEST_MUTANT"

// TestMutant runs the suite over the mutant that the environment names. It is
// for TestSuiteCatchesMutants to start.
func TestMutant(t *testing.T) {
	name := os.Getenv(mutantVariable)
	if name == "" {
		return
	}
	storetest.Run(t, storetest.Harness{
		Open:     func(*testing.T) store.Store { return mutants[name](memory.New()) },
		Features: storetest.Features{WalkRecords: 300},
	})
}

// TestSuiteCatchesMutants sees that the suite can fail, by the question that
// is meant to notice. A failing test cannot pass in its own process, so each
// mutant has one.
func TestSuiteCatchesMutants(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of what a lost change takes is waiting for it
			question, _, _ := strings.Cut(name, ":")
			cmd := exec.CommandContext(t.Context(), executable, "-test.run", "^TestMutant$/^"+question+"$", "-test.timeout", "1m")
			cmd.Env = append(os.Environ(), mutantVariable+"="+name)
			output, err := cmd.CombinedOutput()
			if err == nil || !bytes.Contains(output, []byte("--- FAIL: TestMutant/"+question)) {
				t.Errorf("%v:\n%s", err, output)
			}
		})
	}
}
