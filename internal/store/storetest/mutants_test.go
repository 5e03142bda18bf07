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

// A mutant is a correct store, except that one method breaks one rule.
type mutant struct {
	store.Store
	get    func(context.Context, subjects.Target) (*store.Record, error)
	put    func(context.Context, *store.Record, store.Precondition) (string, error)
	delete func(context.Context, subjects.Target, store.Precondition) error
	list   func(context.Context, store.ListOptions) (store.Page, error)
	close  func(context.Context) error
	watch  func(context.Context, func(store.Change)) error
	multi  func(context.Context, []subjects.Target) ([]store.Found, error)

	identity func(context.Context) (string, error)

	newer  func(a, b string) (newer, known bool)
	behind func(reader *mutant) // breaks a reader that is behind

	fill    func() (makeRoom func())
	replace func() (back func())

	features storetest.Features
}

func (m *mutant) Native(subjects.Scope) bool { return m.features.Native }

func (m *mutant) GetsMulti(subjects.Scope) bool { return m.multi != nil }

func (m *mutant) GetMulti(ctx context.Context, keys []subjects.Target) ([]store.Found, error) {
	return m.multi(ctx, keys)
}

func (m *mutant) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
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

func (m *mutant) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
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

func (m *mutant) Close(ctx context.Context) error {
	if m.close == nil {
		return m.Store.Close(ctx)
	}
	return m.close(ctx)
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

// retell returns a store whose watch reports the results of change instead of the
// changes. It reports nothing for a nil result.
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

// alias returns a store in which keys of the same name are one key.
func alias(s store.Store, name func(subjects.Target) string) *mutant {
	var mu sync.Mutex
	first := make(map[string]subjects.Target)
	one := func(key subjects.Target) subjects.Target {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := first[name(key)]; !ok {
			first[name(key)] = key
		}
		return first[name(key)]
	}
	return &mutant{Store: s,
		get: func(ctx context.Context, key subjects.Target) (*store.Record, error) { return s.Get(ctx, one(key)) },
		put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			aliased := *rec
			aliased.Target = one(rec.Target)
			return s.Put(ctx, &aliased, pre)
		},
		delete: func(ctx context.Context, key subjects.Target, pre store.Precondition) error {
			return s.Delete(ctx, one(key), pre)
		},
	}
}

// mangle returns a store that applies change to each record before it keeps it.
func mangle(s store.Store, change func(rec *store.Record)) *mutant {
	return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
		mangled := *rec
		mangled.Data = rec.Data.Clone()
		change(&mangled)
		return s.Put(ctx, &mangled, pre)
	}}
}

// mutants has all mutants. The name says which test of the suite must fail and, after
// the colon, which rule is broken.
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

// checkedApart returns a store that checks the precondition and writes later.
func checkedApart(s store.Store) *mutant {
	return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
		current, _ := s.Get(ctx, rec.Target)
		if err := pre.Check(current); err != nil {
			return "", err
		}
		time.Sleep(5 * time.Millisecond) // another writer may check meanwhile
		return s.Put(ctx, rec, store.Precondition{})
	}}
}

const mutantVariable = "CREDBUS_TEST_STORETEST_MUTANT"

// TestMutant runs the suite over the mutant that the environment names.
// TestSuiteCatchesMutants starts it.
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
			other := &mutant{Store: sound, features: features, close: func(context.Context) error { return nil }}
			other.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
				time.Sleep(time.Millisecond) // within the window of checkedApart
				return sound.Put(ctx, rec, pre)
			}
			return other
		},
		Plant: func(t *testing.T, _ store.Store, key subjects.Target, value string) {
			planted := &store.Record{Target: key, Data: subjects.Value([]byte(value)), Metadata: subjects.Metadata{Description: "planted"}}
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

// TestSuiteCatchesMutants checks that the suite can fail, in the test that is meant to
// fail. A process with a failed test fails too, so each mutant has a process of its own.
func TestSuiteCatchesMutants(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a test for a lost change spends most of its time waiting
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
