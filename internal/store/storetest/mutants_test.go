package storetest_test

import (
	"bytes"
	"context"
	"maps"
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
	batch  func(context.Context, []store.Key) ([]store.Found, error)

	identity func(context.Context) (string, error)

	newer  func(a, b string) (newer, known bool)
	behind func(reader *mutant) // what it breaks of a reader that is behind

	fill    func() (makeRoom func())
	replace func() (back func())

	features storetest.Features
}

func (m *mutant) Native(subjects.Scope) bool { return m.features.Native }

func (m *mutant) Batches(subjects.Scope) bool { return m.batch != nil }

func (m *mutant) GetBatch(ctx context.Context, keys []store.Key) ([]store.Found, error) {
	return m.batch(ctx, keys)
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

func (m *mutant) Newer(a, b string) (newer, known bool) {
	if m.newer == nil {
		return false, false
	}
	return m.newer(a, b)
}

func (m *mutant) Identity(ctx context.Context) (string, error) {
	if m.identity == nil {
		return m.Store.(store.Identified).Identity(ctx)
	}
	return m.identity(ctx)
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

// alias is a store in which keys of the same name are one key.
func alias(s store.Store, name func(store.Key) string) *mutant {
	var mu sync.Mutex
	first := make(map[string]store.Key)
	one := func(key store.Key) store.Key {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := first[name(key)]; !ok {
			first[name(key)] = key
		}
		return first[name(key)]
	}
	return &mutant{Store: s,
		get: func(ctx context.Context, key store.Key) (*store.Record, error) { return s.Get(ctx, one(key)) },
		put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			aliased := *rec
			aliased.Key = one(rec.Key)
			return s.Put(ctx, &aliased, pre)
		},
		delete: func(ctx context.Context, key store.Key, pre store.Precondition) error {
			return s.Delete(ctx, one(key), pre)
		},
	}
}

// mangle is a store that keeps what change makes of each record.
func mangle(s store.Store, change func(rec *store.Record)) *mutant {
	return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
		mangled := *rec
		mangled.Data = rec.Data.Clone()
		change(&mangled)
		return s.Put(ctx, &mangled, pre)
	}}
}

// mutants are all of them. The name says which rule is broken, and before the
// colon which question must notice.
var mutants = func() map[string]func(s store.Store) *mutant {
	all := maps.Clone(recordMutants)
	maps.Copy(all, listMutants)
	maps.Copy(all, valueMutants)
	maps.Copy(all, roomMutants)
	maps.Copy(all, foreignMutants)
	maps.Copy(all, behindMutants)
	return all
}()

func cut[T ~string](s T, most int) T { return s[:min(len(s), most)] }

// checkedApart looks at the precondition first and writes later.
func checkedApart(s store.Store) *mutant {
	return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
		current, _ := s.Get(ctx, rec.Key)
		if err := pre.Check(current); err != nil {
			return "", err
		}
		time.Sleep(5 * time.Millisecond) // the window in which another writer checks as well
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
	var sound store.Store // of the mutant that was opened last
	features := mutants[name](memory.New()).features
	features.WalkRecords = 300
	storetest.Run(t, storetest.Harness{
		Open: func(*testing.T) store.Store {
			sound = memory.New()
			return mutants[name](sound)
		},
		Other: func(*testing.T, store.Store) store.Store {
			other := &mutant{Store: sound, features: features, close: func() error { return nil }}
			other.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
				time.Sleep(time.Millisecond) // within the window of checkedApart
				return sound.Put(ctx, rec, pre)
			}
			return other
		},
		Plant: func(t *testing.T, _ store.Store, key store.Key, value string) {
			planted := &store.Record{Key: key, Data: subjects.Value([]byte(value)), Metadata: subjects.Metadata{Description: "planted"}}
			if _, err := sound.Put(t.Context(), planted, store.Precondition{}); err != nil {
				t.Fatal(err)
			}
		},
		Behind: func(*testing.T) (writer, reader store.Store, catchUp func()) {
			return behindOf(mutants[name](memory.New()))
		},
		Fill:     func(_ *testing.T, s store.Store) func() { return s.(*mutant).fill() },
		Replace:  func(_ *testing.T, s store.Store) func() { return s.(*mutant).replace() },
		Features: features,
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
