package router_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/internal/store/memory"
	"credbus/internal/store/record"
	"credbus/internal/store/router"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// routes divide the scopes that the suite uses among three stores, within
// subtrees and beside them.
var routes = map[subjects.Scope]string{
	"org:acme/team:eng":             "b",
	"org:acme/team:eng/service:api": "default",
	"org:acme2":                     "b",
	"org:acme/team:t1":              "c",
	"org:acme/team:t3":              "b",
	"org:burst/team:t1":             "c",
}

func newRouter(t testing.TB, open func(name string) store.Store, routes map[subjects.Scope]string) *router.Router {
	t.Helper()
	stores := make(map[string]store.Store)
	for _, name := range []string{"default", "b", "c"} {
		stores[name] = open(name)
	}
	r, err := router.New(router.Config{Stores: stores, Default: "default", Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func overMemory(string) store.Store { return memory.New() }

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open:     func(t *testing.T) store.Store { return newRouter(t, overMemory, routes) },
		Features: storetest.Features{Unordered: true},
	})
}

// A router with one store lists in order.
func TestConformanceOfOne(t *testing.T) {
	storetest.Run(t, storetest.Harness{Open: func(t *testing.T) store.Store {
		r, err := router.New(router.Config{Stores: map[string]store.Store{"default": memory.New()}, Default: "default"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}})
}

type native struct {
	store.Store
	native bool
}

func (n native) Native(subjects.Scope) bool { return n.native }

func TestConformanceNative(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Store {
			return newRouter(t, func(string) store.Store { return native{memory.New(), true} }, routes)
		},
		Features: storetest.Features{Unordered: true, Native: true},
	})
}

// several is a MultiGetter that counts its calls.
type several struct {
	store.Store
	calls *int
	err   error
}

func (b several) GetsMulti(subjects.Scope) bool { return true }

func (b several) GetMulti(ctx context.Context, keys []subjects.Target) ([]store.Found, error) {
	if b.calls != nil {
		*b.calls++
	}
	if b.err != nil {
		return nil, b.err
	}
	found := make([]store.Found, len(keys))
	for i, key := range keys {
		found[i].Record, found[i].Err = b.Get(ctx, key)
		if errors.Is(found[i].Err, store.ErrClosed) || ctx.Err() != nil {
			return nil, found[i].Err
		}
	}
	return found, nil
}

func TestConformanceGetMulti(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Store {
			return newRouter(t, func(string) store.Store { return several{Store: memory.New()} }, routes)
		},
		Features: storetest.Features{Unordered: true},
	})
}

// The router has two stores of files and one in memory. Another process shares them.
func TestConformanceOverFiles(t *testing.T) {
	type opened struct {
		*router.Router
		dir    string
		memory store.Store
	}
	open := func(t *testing.T, o *opened) *opened {
		o.Router = newRouter(t, func(name string) store.Store {
			if name == "c" {
				return o.memory
			}
			s, err := file.New(file.Config{Dir: filepath.Join(o.dir, name)})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}, routes)
		return o
	}
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Store { return open(t, &opened{dir: t.TempDir(), memory: memory.New()}) },
		Other: func(t *testing.T, s store.Store) store.Store {
			other := open(t, &opened{dir: s.(*opened).dir, memory: unclosed{s.(*opened).memory}})
			t.Cleanup(func() { other.Close(context.Background()) })
			return other
		},
		Damage:   func(t *testing.T, s store.Store, key subjects.Target) { damage(t, s.(*opened).dir, key) },
		Features: storetest.Features{Unordered: true, WalkRecords: 500},
	})
}

// unclosed is another view of a store in memory. It ignores Close.
type unclosed struct{ store.Store }

func (unclosed) Close(context.Context) error { return nil }

// damage overwrites the file of a record.
func damage(t *testing.T, dir string, key subjects.Target) {
	t.Helper()
	damaged := false
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Ext(path) != ".cred" {
			return err
		}
		content, err := os.ReadFile(path)
		if rec, bad := record.Decode(content); err != nil || bad != nil || rec.Target != key {
			return err
		}
		damaged = true
		return os.WriteFile(path, []byte("damaged"), 0o600)
	})
	if err != nil || !damaged {
		t.Fatalf("no file of %v was damaged: %v", key, err)
	}
}

func put(t *testing.T, s store.Store, scope subjects.Scope, id subjects.ID) subjects.Target {
	t.Helper()
	key := subjects.Target{Scope: scope, ID: id}
	if _, err := s.Put(t.Context(), &store.Record{Target: key, WriteID: fmt.Sprint(scope, id), Payload: []byte("sealed")}, store.Precondition{}); err != nil {
		t.Fatal(err)
	}
	return key
}

func walk(t *testing.T, s store.Store, scope subjects.Scope, limit int) (keys []subjects.Target) {
	t.Helper()
	for opts := (store.ListOptions{Scope: scope, Limit: limit}); ; {
		page, err := s.List(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range page.Records {
			keys = append(keys, rec.Target)
		}
		if opts.After = page.Next; opts.After == "" {
			return keys
		}
	}
}

// Each credential is in the store of its longest route, and in no other.
func TestLongestRoute(t *testing.T) {
	stores := map[string]store.Store{"default": memory.New(), "b": memory.New(), "c": memory.New()}
	r, err := router.New(router.Config{Stores: stores, Default: "default", Routes: map[subjects.Scope]string{
		"org:a": "b", "org:a/team:x": "c", "org:a/team:x/service:s": "default", "org:ab": "c",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for scope, want := range map[subjects.Scope]string{
		"org:a":                        "b",
		"org:a/team:x":                 "c",
		"org:a/team:xy":                "b",
		"org:a/team:x/service:s":       "default",
		"org:a/team:x/service:s/env:e": "default",
		"org:a/team:x/service:t":       "c",
		"org:ab":                       "c",
		"org:ab/team:x":                "c",
		"org:abc":                      "default",
		"org:b/org:a":                  "default",
		"team:x":                       "default",
		subjects.Root:                  "default",
	} {
		if got := r.Name(scope); got != want {
			t.Errorf("%q is in store %s, want %s", scope, got, want)
		}
		if scope == subjects.Root {
			continue
		}
		key := put(t, r, scope, "id")
		for name, s := range stores {
			_, err := s.Get(t.Context(), key)
			if name == want && err != nil || name != want && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%q in %s: %v", scope, name, err)
			}
		}
		if err := r.Delete(t.Context(), key, store.Precondition{}); err != nil {
			t.Error(err)
		}
	}
	for scope, want := range map[subjects.Scope][]string{
		subjects.Root: {"default", "b", "c"}, "org:a": {"default", "b", "c"}, "org:a/team:x": {"default", "c"},
		"org:a/team:x/service:s": {"default"}, "org:a/team:y": {"b"}, "org:ab": {"c"}, "org:c": {"default"},
	} {
		if got := r.Routed(scope); !slices.Equal(got, want) {
			t.Errorf("%q and below is in stores %v, want %v", scope, got, want)
		}
	}
}

// A store may have records of scopes that are routed elsewhere, as after a new route.
// They are neither found nor listed, and do not make a page endless.
func TestRecordsInTheWrongStore(t *testing.T) {
	left, right := memory.New(), memory.New()
	for i := range 20 {
		put(t, left, "org:moved", subjects.ID(fmt.Sprint("old-", i)))
	}
	stays := put(t, left, "org:stays", "id")
	r, err := router.New(router.Config{
		Stores: map[string]store.Store{"left": left, "right": right}, Default: "left",
		Routes: map[subjects.Scope]string{"org:moved": "right"},
	})
	if err != nil {
		t.Fatal(err)
	}
	moved := put(t, r, "org:moved", "new")
	for _, limit := range []int{1, 3, 100} {
		if got := walk(t, r, subjects.Root, limit); !slices.Equal(got, []subjects.Target{stays, moved}) {
			t.Errorf("limit %d: the root has %v", limit, got)
		}
		if got := walk(t, r, "org:moved", limit); !slices.Equal(got, []subjects.Target{moved}) {
			t.Errorf("limit %d: the scope has %v", limit, got)
		}
	}
	if _, err := r.Get(t.Context(), subjects.Target{Scope: "org:moved", ID: "old-1"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a record in the wrong store: %v", err)
	}
}

// A cursor names its store and its list. It is refused in another list.
func TestCursors(t *testing.T) {
	r := newRouter(t, overMemory, map[subjects.Scope]string{"org:a/team:x": "b", "org:ab/team:x": "b", "org:a/team:y": "c"})
	for _, scope := range []subjects.Scope{"org:a", "org:a/team:x", "org:a/team:y", "org:ab", "org:ab/team:x"} {
		put(t, r, scope, "id")
	}
	for opts := (store.ListOptions{Scope: "org:a", Limit: 1}); ; {
		page, err := r.List(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if opts.After = page.Next; opts.After == "" {
			break
		}
		for _, other := range []subjects.Scope{"org:ab", subjects.Root, "org:a/team:x", "org:c"} {
			if _, err := r.List(t.Context(), store.ListOptions{Scope: other, Limit: 1, After: opts.After}); !errors.Is(err, store.ErrCursor) {
				t.Errorf("the cursor %q in a list of %q: %v, want ErrCursor", opts.After, other, err)
			}
		}
	}
	for _, cursor := range []string{" ", "default", "default org:a ", "d org:a ", "b org:a", "b  ", "c org:ab ", "b org:a x", "org:a/id"} {
		if _, err := r.List(t.Context(), store.ListOptions{Scope: "org:a", Limit: 1, After: cursor}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("the cursor %q: %v, want ErrCursor", cursor, err)
		}
	}
}

func TestErrorsNameTheStore(t *testing.T) {
	broken := storetest.NewFaults(memory.New())
	r := newRouter(t, func(name string) store.Store {
		if name == "b" {
			return broken
		}
		return memory.New()
	}, map[subjects.Scope]string{"org:b": "b"})
	for _, op := range []storetest.Operation{storetest.Get, storetest.Put, storetest.Delete, storetest.List} {
		broken.Set(op, storetest.Fault{Err: store.ErrUnavailable})
	}
	key := subjects.Target{Scope: "org:b", ID: "id"}
	_, get := r.Get(t.Context(), key)
	_, put := r.Put(t.Context(), &store.Record{Target: key}, store.Precondition{})
	_, list := r.List(t.Context(), store.ListOptions{Scope: "org:b"})
	_, spanning := r.List(t.Context(), store.ListOptions{After: "b  "})
	for what, err := range map[string]error{
		"get": get, "put": put, "delete": r.Delete(t.Context(), key, store.Precondition{}), "list": list, "list of the root": spanning,
	} {
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "store b: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := r.Get(t.Context(), subjects.Target{Scope: "org:a", ID: "id"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a read from another store: %v", err)
	}
}

// GetMulti calls each store once. The error of one store does not affect the others.
func TestGetMultiIsSplit(t *testing.T) {
	calls := map[string]*int{"b": new(int), "c": new(int)}
	outage := errors.New("out")
	r := newRouter(t, func(name string) store.Store {
		switch name {
		case "b":
			return several{Store: memory.New(), calls: calls[name]}
		case "c":
			return several{Store: memory.New(), calls: calls[name], err: outage}
		}
		return memory.New()
	}, map[subjects.Scope]string{"org:b": "b", "org:c": "c"})
	if r.GetsMulti("org:a") || !r.GetsMulti("org:b") || !r.GetsMulti("org:c/team:x") || !r.GetsMulti(subjects.Root) {
		t.Error("GetsMulti differs from that of the stores")
	}
	keys := []subjects.Target{
		put(t, r, "org:b", "1"), put(t, r, "org:a", "1"), put(t, r, "org:c", "1"), {Scope: "org:b", ID: "missing"},
		put(t, r, "org:b", "2"), {Scope: "org:a", ID: "missing"},
	}
	found, err := r.GetMulti(t.Context(), keys)
	if err != nil || len(found) != len(keys) {
		t.Fatalf("%d found, %v", len(found), err)
	}
	for i, want := range []error{nil, nil, outage, store.ErrNotFound, nil, store.ErrNotFound} {
		if !errors.Is(found[i].Err, want) || want == nil && (found[i].Err != nil || found[i].Record.Target != keys[i]) {
			t.Errorf("%v: %v, %v", keys[i], found[i].Record, found[i].Err)
		}
	}
	if *calls["b"] != 1 || *calls["c"] != 1 {
		t.Errorf("the stores were asked %d and %d times", *calls["b"], *calls["c"])
	}
	if found, err := r.GetMulti(t.Context(), keys[2:3]); !errors.Is(err, outage) || found != nil {
		t.Errorf("a call in which all fail: %v, %v", found, err)
	}
}

func TestNativeByScope(t *testing.T) {
	r := newRouter(t, func(name string) store.Store { return native{memory.New(), name == "b"} }, map[subjects.Scope]string{"org:b": "b", "org:b/team:c": "c"})
	for scope, want := range map[subjects.Scope]bool{"org:a": false, "org:b": true, "org:b/team:x": true, "org:b/team:c": false} {
		if got := store.IsNative(r, scope); got != want {
			t.Errorf("%s is native: %t", scope, got)
		}
	}
}

func TestCloseClosesAll(t *testing.T) {
	stores := make(map[string]store.Store)
	r := newRouter(t, func(name string) store.Store { stores[name] = memory.New(); return stores[name] }, nil)
	for range 2 {
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for name, s := range stores {
		if _, err := s.List(t.Context(), store.ListOptions{}); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrongConfig(t *testing.T) {
	one := map[string]store.Store{"a": memory.New()}
	for want, config := range map[string]router.Config{
		`"" is routed to "x": there is no such store`:      {Stores: one, Default: "x"},
		`"org:a" is routed to "x": there is no such store`: {Stores: one, Default: "a", Routes: map[subjects.Scope]string{"org:a": "x"}},
		`the root is routed to "a"`:                        {Stores: one, Default: "a", Routes: map[subjects.Scope]string{"": "a"}},
		"scope segment":                                    {Stores: one, Default: "a", Routes: map[subjects.Scope]string{"org": "a"}},
		`"a b" is not a valid name of a store`:             {Stores: map[string]store.Store{"a b": memory.New()}, Default: "a b"},
	} {
		if _, err := router.New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
