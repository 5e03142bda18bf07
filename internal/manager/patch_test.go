package manager_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// database is a credential with something in every field.
func database(at subjects.Target) subjects.StoreItem {
	return subjects.StoreItem{
		Target: at, Data: subjects.Data{"user": subjects.NewSecret([]byte("ada")), "password": subjects.NewSecret([]byte("old"))},
		Metadata: subjects.Metadata{
			Description: "the database", Tags: map[string]string{"env": "prod", "owner": "eng"},
			Expires: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), RotationDays: 90, Inheritable: true,
		},
	}
}

// text returns the content of a credential.
func text(data subjects.Data) map[string]string {
	all := make(map[string]string)
	for name, value := range data {
		all[name] = string(value.Bytes())
	}
	return all
}

func (b *bed) fresh(t testing.TB, at subjects.Target) *subjects.RetrieveReply {
	t.Helper()
	reply, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at, Fresh: true}, subjects.Revision{})
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// stores are the stores for patches, in both forms.
func patchStores(t *testing.T, test func(t *testing.T, s store.Store)) {
	for name, open := range map[string]func(t *testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return memory.New() },
		"native": func(*testing.T) store.Store { return native{memory.New()} },
		"file": func(t *testing.T) store.Store {
			s, err := file.New(file.Config{Dir: filepath.Join(t.TempDir(), "store")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close(context.Background()) })
			return s
		},
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// A patch must change only what it names.
func TestPatchKeepsTheRest(t *testing.T) {
	at := target("org:acme", "db")
	secret := func(s string) subjects.Secret { return subjects.NewSecret([]byte(s)) }
	for what, test := range map[string]struct {
		patch  subjects.PatchItem
		change func(data map[string]string, m *subjects.Metadata)
		kept   subjects.Kept
	}{
		"a value": {
			subjects.PatchItem{Data: subjects.Data{"password": secret("new")}},
			func(data map[string]string, _ *subjects.Metadata) { data["password"] = "new" },
			subjects.Kept{Values: 1, Tags: 2, Description: true, Expires: database(at).Expires, RotationDays: 90, Inheritable: true},
		},
		"a name added and one removed": {
			subjects.PatchItem{Data: subjects.Data{"host": secret("h")}, RemoveData: []string{"user"}},
			func(data map[string]string, _ *subjects.Metadata) { data["host"] = "h"; delete(data, "user") },
			subjects.Kept{Values: 1, Tags: 2, Description: true, Expires: database(at).Expires, RotationDays: 90, Inheritable: true},
		},
		"tags": {
			subjects.PatchItem{Tags: map[string]string{"env": "test", "new": "1"}, RemoveTags: []string{"owner"}},
			func(_ map[string]string, m *subjects.Metadata) { m.Tags = map[string]string{"env": "test", "new": "1"} },
			subjects.Kept{Values: 2, Description: true, Expires: database(at).Expires, RotationDays: 90, Inheritable: true},
		},
		"all tags": {
			subjects.PatchItem{RemoveAllTags: true},
			func(_ map[string]string, m *subjects.Metadata) { m.Tags = nil },
			subjects.Kept{Values: 2, Description: true, Expires: database(at).Expires, RotationDays: 90, Inheritable: true},
		},
		"the expiry removed": {
			subjects.PatchItem{Expires: new(time.Time)},
			func(_ map[string]string, m *subjects.Metadata) { m.Expires = time.Time{} },
			subjects.Kept{Values: 2, Tags: 2, Description: true, RotationDays: 90, Inheritable: true},
		},
		"all the others": {
			subjects.PatchItem{Description: new(""), RotationDays: new(7), Inheritable: new(false), Expires: new(database(at).Expires.AddDate(1, 0, 0))},
			func(_ map[string]string, m *subjects.Metadata) {
				m.Description, m.RotationDays, m.Inheritable, m.Expires = "", 7, false, m.Expires.AddDate(1, 0, 0)
			},
			subjects.Kept{Values: 2, Tags: 2},
		},
	} {
		t.Run(what, func(t *testing.T) {
			patchStores(t, func(t *testing.T, s store.Store) {
				b := newBed(t, s, nil, nil)
				b.storeItem(t, database(at))
				before := b.fresh(t, at)
				want, metadata := text(before.Data), before.Metadata
				metadata.Tags = maps.Clone(metadata.Tags)
				test.change(want, &metadata)
				patch := test.patch
				patch.Target = at
				reply, err := b.Patch(t.Context(), &patch, "")
				if err != nil {
					t.Fatal(err)
				}
				after := b.fresh(t, at)
				if got := text(after.Data); !maps.Equal(got, want) {
					t.Errorf("data is %v, want %v", got, want)
				}
				if len(patch.Data) == 0 && !after.Modified.Equal(before.Modified) {
					t.Errorf("modified at %v, before at %v", after.Modified, before.Modified)
				}
				metadata.Modified = after.Modified
				if !reflect.DeepEqual(after.Metadata, metadata) {
					t.Errorf("metadata is\n%+v, want\n%+v", after.Metadata, metadata)
				}
				if reply.Version != after.Version || reply.Version == before.Version || reply.Target != at || reply.Revision.IsZero() {
					t.Errorf("reply %+v, the version is %s and was %s", reply, after.Version, before.Version)
				}
				if reply.Kept != test.kept || reply.AbsentData != nil || reply.AbsentTags != nil {
					t.Errorf("kept %+v, want %+v; absent %q, %q", reply.Kept, test.kept, reply.AbsentData, reply.AbsentTags)
				}
				if err := b.replica.Await(t.Context(), reply.Revision); err != nil {
					t.Fatal(err)
				}
				cached, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, reply.Revision)
				if err != nil || cached.Version != reply.Version {
					t.Errorf("read through the cache: %v, %v", cached, err)
				}
			})
		})
	}
}

// Rotation depends on the age of the values: a patch that changes none must not
// make them look new.
func TestPatchLeavesTheAgeOfValues(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		at := target("org:acme", "db")
		b := newBed(t, memory.New(), nil, nil)
		item := database(at)
		item.RotationDays = 0
		b.storeItem(t, item)
		time.Sleep(10 * 24 * time.Hour)
		due := func() bool {
			t.Helper()
			reply, err := b.Validate(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			return reply.RotationDue
		}
		patch := func(item subjects.PatchItem) {
			t.Helper()
			item.Target = at
			if _, err := b.Patch(t.Context(), &item, ""); err != nil {
				t.Fatal(err)
			}
		}
		patch(subjects.PatchItem{RotationDays: new(7)})
		patch(subjects.PatchItem{Tags: map[string]string{"a": "b"}})
		if !due() {
			t.Error("after patches of metadata a value of 10 days is not due by a policy of 7")
		}
		patch(subjects.PatchItem{Data: subjects.Data{"password": subjects.NewSecret([]byte("new"))}})
		if due() {
			t.Error("a new value is due")
		}
	})
}

func TestPatchRefuses(t *testing.T) {
	at, one := target("org:acme", "db"), target("org:acme", "one")
	tags := make(map[string]string)
	for i := range subjects.MaxTags {
		tags[fmt.Sprint("t", i)] = "x"
	}
	for what, test := range map[string]struct {
		patch subjects.PatchItem
		code  subjects.Code
		says  string
	}{
		"nothing":              {subjects.PatchItem{Target: at}, subjects.InvalidArgument, "changes nothing"},
		"what is missing":      {subjects.PatchItem{Target: target("org:acme", "none"), Description: new("x")}, subjects.NotFound, ""},
		"at a version":         {subjects.PatchItem{Target: target("org:acme", "none"), Description: new("x"), Version: "v"}, subjects.NotFound, ""},
		"another version":      {subjects.PatchItem{Target: at, Description: new("x"), Version: "v"}, subjects.VersionConflict, ""},
		"all values":           {subjects.PatchItem{Target: at, RemoveData: []string{"user", "password"}}, subjects.InvalidArgument, "at least one must remain"},
		"the only value":       {subjects.PatchItem{Target: one, RemoveData: []string{subjects.ValueName}}, subjects.InvalidArgument, "at least one must remain"},
		"too many tags":        {subjects.PatchItem{Target: at, Tags: tags}, subjects.InvalidArgument, "52 tags"},
		"too much data":        {subjects.PatchItem{Target: at, Data: subjects.Data{"big": subjects.NewSecret(make([]byte, subjects.MaxDataLen-1))}}, subjects.PayloadTooLarge, ""},
		"no id":                {subjects.PatchItem{Target: subjects.Target{Scope: "org:acme"}, Description: new("x")}, subjects.InvalidArgument, "id is missing"},
		"an invalid name":      {subjects.PatchItem{Target: at, RemoveData: []string{"a/b"}}, subjects.InvalidArgument, "a/b"},
		"contradicting itself": {subjects.PatchItem{Target: at, Tags: map[string]string{"a": "b"}, RemoveTags: []string{"a"}}, subjects.InvalidArgument, "set and removed"},
	} {
		t.Run(what, func(t *testing.T) {
			faults := storetest.NewFaults(memory.New())
			b := newBed(t, faults, nil, nil)
			b.storeItem(t, database(at))
			b.store(t, one, "v")
			before, puts := b.fresh(t, at), faults.Calls(storetest.Put)
			_, err := b.Patch(t.Context(), &test.patch, "")
			told, _ := manager.Explain(err, test.patch.Target)
			if err == nil || told.Code != test.code || !strings.Contains(told.Message, test.says) || told.OutcomeUnknown || told.Retryable {
				t.Errorf("%+v", told)
			}
			if n := faults.Calls(storetest.Put) - puts; n != 0 || b.fresh(t, at).Version != before.Version {
				t.Errorf("%d writes", n)
			}
		})
	}
	b := newBed(t, memory.New(), nil, nil)
	b.storeItem(t, database(at))
	if _, err := b.Patch(t.Context(), &subjects.PatchItem{Target: at, Description: new("x")}, "a b"); told(err) != subjects.InvalidArgument {
		t.Errorf("a request id with a space: %v", err)
	}
}

// If a name to remove is missing, the reply says so, and the patch does not
// fail.
func TestPatchTellsWhatWasAbsent(t *testing.T) {
	at := target("org:acme", "db")
	b := newBed(t, memory.New(), nil, nil)
	b.storeItem(t, database(at))
	item := &subjects.PatchItem{Target: at, RemoveTags: []string{"env", "onwer"}, RemoveData: []string{"usr"}}
	reply, err := b.Patch(t.Context(), item, "r1")
	if err != nil || !reflect.DeepEqual(reply.AbsentTags, []string{"onwer"}) || !reflect.DeepEqual(reply.AbsentData, []string{"usr"}) {
		t.Errorf("%+v, %v", reply, err)
	}
	if again, err := b.Patch(t.Context(), item, "r1"); err != nil || again.AbsentTags != nil || again.Version != reply.Version || again.Kept != reply.Kept {
		t.Errorf("repeated: %+v, %v", again, err)
	}
}

// An expired credential can be given more time.
func TestPatchOfWhatExpired(t *testing.T) {
	at := target("org:acme", "db")
	b := newBed(t, memory.New(), nil, nil)
	item := database(at)
	item.Expires = time.Now().Add(-time.Hour)
	b.storeItem(t, item)
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	if _, err := b.Patch(t.Context(), &subjects.PatchItem{Target: at, Expires: &later}, ""); err != nil {
		t.Fatal(err)
	}
	if got := b.fresh(t, at).Expires; !got.Equal(later) {
		t.Errorf("expires %v, want %v", got, later)
	}
}

// A repeated patch takes effect once while nobody else writes, even with a
// version that it has replaced itself.
func TestPatchRepeated(t *testing.T) {
	at := target("org:acme", "db")
	patchStores(t, func(t *testing.T, s store.Store) {
		b := newBed(t, s, nil, nil)
		b.storeItem(t, database(at))
		item := &subjects.PatchItem{Target: at, Tags: map[string]string{"a": "b"}, Version: b.fresh(t, at).Version}
		first, err := b.Patch(t.Context(), item, "r1")
		if err != nil {
			t.Fatal(err)
		}
		if again, err := b.Patch(t.Context(), item, "r1"); err != nil || again.Version != first.Version {
			t.Errorf("repeated: %+v, %v; want version %s", again, err, first.Version)
		}
		if _, err := b.Patch(t.Context(), item, "r2"); told(err) != subjects.VersionConflict {
			t.Errorf("another request with the version that was replaced: %v", err)
		}
		b.storeItem(t, database(at))
		if _, err := b.Patch(t.Context(), item, "r1"); told(err) != subjects.VersionConflict {
			t.Errorf("repeated with a version after others wrote: %v", err)
		}
	})
}

// conflicts makes writes of others between the reads and the writes of a patch.
type conflicts struct {
	store.Store
	mu   sync.Mutex
	left int
	when func(context.Context)
}

func (c *conflicts) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	c.mu.Lock()
	now := c.left > 0 && pre.Version != ""
	if now {
		c.left--
	}
	c.mu.Unlock()
	if now {
		c.when(ctx)
	}
	return c.Store.Put(ctx, rec, pre)
}

// Without a version, a patch is repeated on top of other writes, which it
// keeps; with a version it is refused at once. It must not repeat for ever.
func TestPatchConflicts(t *testing.T) {
	at := target("org:acme", "db")
	for _, test := range []struct {
		conflicts int
		versioned bool
		code      subjects.Code
		retryable bool
		tries     int
	}{
		{1, false, "", false, 2}, {5, false, "", false, 6}, {1, true, subjects.VersionConflict, false, 1}, {1000, false, subjects.VersionConflict, true, 20},
	} {
		t.Run(fmt.Sprint(test.conflicts, test.versioned), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				kept, log, ring := memory.New(), coherencetest.NewLog(), keyring(t)
				same := func(c *manager.Config) { c.Keyring = ring }
				other := newBed(t, kept, log, same)
				written, n := other.storeItem(t, database(at)).Version, 0
				between := &conflicts{Store: kept, left: test.conflicts, when: func(context.Context) {
					n++
					item := database(at)
					item.Description = fmt.Sprint("by others ", n)
					other.storeItem(t, item)
				}}
				faults := storetest.NewFaults(between)
				b := newBed(t, faults, log, same)
				item := &subjects.PatchItem{Target: at, Tags: map[string]string{"a": "b"}}
				if test.versioned {
					item.Version = written
				}
				_, err := b.Patch(t.Context(), item, "")
				told, _ := manager.Explain(err, at)
				if (err != nil) != (test.code != "") || err != nil && (told.Code != test.code || told.Retryable != test.retryable || told.OutcomeUnknown) {
					t.Errorf("%+v", told)
				}
				if tries := faults.Calls(storetest.Put); tries != test.tries {
					t.Errorf("%d tries, want %d", tries, test.tries)
				}
				after := b.fresh(t, at)
				if after.Description != fmt.Sprint("by others ", n) || (after.Tags["a"] == "b") != (test.code == "") {
					t.Errorf("%q, %v", after.Description, after.Tags)
				}
			})
		})
	}
}

// The time of a request bounds the tries of its patch.
func TestPatchEndsWithItsTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		at := target("org:acme", "db")
		faults := storetest.NewFaults(memory.New())
		b := newBed(t, faults, nil, nil)
		b.storeItem(t, database(at))
		faults.Set(storetest.Put, storetest.Fault{Err: store.ErrConflict})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := b.Patch(ctx, &subjects.PatchItem{Target: at, Description: new("x")}, "")
		if told, _ := manager.Explain(err, at); told.Code != subjects.StorageTimeout || told.OutcomeUnknown {
			t.Errorf("%+v", told)
		}
	})
}

// If a conflict may come from the patch's own write without an answer, the
// patch is not retried: it may have taken effect, and others may have written
// since.
func TestPatchOfUnknownOutcome(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		at := target("org:acme", "db")
		faults := storetest.NewFaults(memory.New())
		b := newBed(t, faults, nil, nil)
		b.storeItem(t, database(at))
		puts := faults.Calls(storetest.Put)
		faults.Set(storetest.Put, storetest.Fault{Err: errors.Join(store.ErrConflict, store.ErrTimeout), Applied: true})
		_, err := b.Patch(t.Context(), &subjects.PatchItem{Target: at, Description: new("x")}, "r1")
		if told, _ := manager.Explain(err, at); !told.OutcomeUnknown {
			t.Errorf("%+v", told)
		}
		if n := faults.Calls(storetest.Put) - puts; n != 1 {
			t.Errorf("%d tries", n)
		}
	})
}

// Patches of different tags, all at once and by two replicas, lose none.
func TestConcurrentPatchesLoseNothing(t *testing.T) {
	patchStores(t, func(t *testing.T, s store.Store) {
		at := target("org:acme", "db")
		log, ring := coherencetest.NewLog(), keyring(t)
		same := func(c *manager.Config) { c.Keyring = ring }
		replicas := []*bed{newBed(t, s, log, same), newBed(t, s, log, same)}
		replicas[0].storeItem(t, database(at))
		var group sync.WaitGroup
		const n = 16
		for i := range n {
			group.Go(func() {
				key := fmt.Sprint("t", i)
				for { // a patch refused for conflicts wrote nothing
					_, err := replicas[i%2].Patch(t.Context(), &subjects.PatchItem{Target: at, Tags: map[string]string{key: key}}, "")
					told, _ := manager.Explain(err, at)
					if err == nil {
						return
					}
					if !told.Retryable || told.Code != subjects.VersionConflict {
						t.Errorf("%s: %v", key, told)
						return
					}
				}
			})
		}
		group.Wait()
		after := replicas[1].fresh(t, at)
		for i := range n {
			if key := fmt.Sprint("t", i); after.Tags[key] != key {
				t.Errorf("tag %s is lost", key)
			}
		}
		if len(after.Tags) != n+2 || !maps.Equal(text(after.Data), map[string]string{"user": "ada", "password": "old"}) {
			t.Errorf("%d tags", len(after.Tags))
		}
	})
}

// A record that does not open cannot be patched.
func TestPatchOfWhatDoesNotOpen(t *testing.T) {
	at := target("org:acme", "db")
	kept := memory.New()
	newBed(t, kept, nil, nil).storeItem(t, database(at))
	b := newBed(t, kept, nil, nil) // with another keyring
	if _, err := b.Patch(t.Context(), &subjects.PatchItem{Target: at, Description: new("x")}, ""); told(err) != subjects.DecryptFailed {
		t.Errorf("%v", err)
	}
}

func TestPatchBatch(t *testing.T) {
	at := target("org:acme", "db")
	b := newBed(t, memory.New(), nil, nil)
	b.storeItem(t, database(at))
	request := &subjects.PatchBatchRequest{Items: []subjects.PatchItem{
		{Target: at, Tags: map[string]string{"a": "1"}}, {Target: at, Tags: map[string]string{"b": "2"}},
		{Target: target("org:acme", "none"), Description: new("x")}, {Target: at},
	}}
	request.RequestID = "r1"
	reply, err := b.PatchBatch(t.Context(), request, whole, subjects.Room{})
	if err != nil {
		t.Fatal(err)
	}
	for i, code := range []subjects.Code{"", "", subjects.NotFound, subjects.InvalidArgument} {
		if err := reply.Results[i].Err; (err == nil) != (code == "") || err != nil && err.Code != code {
			t.Errorf("item %d: %v", i, err)
		}
	}
	if after := b.fresh(t, at); after.Tags["a"] != "1" || after.Tags["b"] != "2" {
		t.Errorf("tags are %v", after.Tags)
	}
}

// Concurrent patches of one credential at one worker must not make each other
// fail.
func TestPatchesTakeTurns(t *testing.T) {
	const n = 200 // without turns, some would give up
	at := target("org:acme", "db")
	counted := &counting{Store: memory.New()}
	b := newBed(t, counted, nil, nil)
	b.storeItem(t, database(at))
	before := counted.puts.Load()
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			if _, err := b.Patch(t.Context(), &subjects.PatchItem{Target: at, Description: new("patched")}, ""); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if puts := counted.puts.Load() - before; puts != n {
		t.Errorf("%d patches wrote %d times", n, puts)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Patch(ctx, &subjects.PatchItem{Target: at, Description: new("x")}, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a patch of a caller that has left: %v", err)
	}
}

// counting counts the writes that reach a store.
type counting struct {
	store.Store
	puts atomic.Int64
}

func (c *counting) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	c.puts.Add(1)
	return c.Store.Put(ctx, rec, pre)
}
