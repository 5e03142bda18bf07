package manager_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// A request id is bound to its content: the same write again takes effect once,
// any other is refused and changes nothing.
func TestRequestIDIsUsedAgain(t *testing.T) {
	at := target("org:acme", "db")
	values := func(password string) subjects.Data {
		return subjects.Data{"user": subjects.NewSecret([]byte("ada")), "password": subjects.NewSecret([]byte(password))}
	}
	reused := map[string]func(item *subjects.StoreItem){
		"a value":       func(item *subjects.StoreItem) { item.Data = values("new") },
		"no value":      func(item *subjects.StoreItem) { item.Data = subjects.Data{"user": item.Data["user"]} },
		"another value": func(item *subjects.StoreItem) { item.Data["port"] = subjects.NewSecret([]byte("1")) },
		"a tag":         func(item *subjects.StoreItem) { item.Tags = map[string]string{"env": "test", "owner": "eng"} },
		"no tags":       func(item *subjects.StoreItem) { item.Tags = nil },
		"description":   func(item *subjects.StoreItem) { item.Description = "" },
		"expires":       func(item *subjects.StoreItem) { item.Expires = item.Expires.Add(time.Second) },
		"rotation":      func(item *subjects.StoreItem) { item.RotationDays = 30 },
		"inheritable":   func(item *subjects.StoreItem) { item.Inheritable = false },
	}
	patchStores(t, func(t *testing.T, s store.Store) {
		b := newBed(t, s, nil, nil)
		item := database(at)
		first, err := b.Store(t.Context(), &item, "r1")
		if err != nil {
			t.Fatal(err)
		}
		unchanged := func(what string) {
			t.Helper()
			got := b.fresh(t, at)
			if want := map[string]string{"user": "ada", "password": "old"}; got.Version != first.Version || !maps.Equal(text(got.Data), want) {
				t.Errorf("after %s it is at %q with %v, want %q", what, got.Version, text(got.Data), first.Version)
			}
		}
		for _, conditions := range []subjects.StoreItem{{}, {CreateOnly: true}, {Version: "older"}} {
			again := database(at)
			again.Expires = again.Expires.In(time.FixedZone("", 3600)) // the same moment
			again.CreateOnly, again.Version = conditions.CreateOnly, conditions.Version
			if reply, err := b.Store(t.Context(), &again, "r1"); err != nil || reply.Version != first.Version {
				t.Errorf("the same again: %+v, %v; want version %q", reply, err, first.Version)
			}
		}
		for what, change := range reused {
			other := database(at)
			change(&other)
			_, err := b.Store(t.Context(), &other, "r1")
			told, _ := manager.Explain(err, at)
			if told.Code != subjects.InvalidArgument || told.OutcomeUnknown {
				t.Errorf("another %s under the same request id: %v (%+v)", what, err, told)
			}
			unchanged(what)
		}
		if _, err := b.Patch(t.Context(), &subjects.PatchItem{Target: at, Tags: map[string]string{"env": "test"}}, "r1"); told(err) != subjects.InvalidArgument {
			t.Errorf("a patch under the request id of a store: %v", err)
		}
		unchanged("a patch")

		patch := &subjects.PatchItem{Target: at, Tags: map[string]string{"env": "test"}}
		patched, err := b.Patch(t.Context(), patch, "r2")
		if err != nil {
			t.Fatal(err)
		}
		if reply, err := b.Patch(t.Context(), patch, "r2"); err != nil || reply.Version != patched.Version {
			t.Errorf("the same patch again: %+v, %v", reply, err)
		}
		if _, err := b.Patch(t.Context(), &subjects.PatchItem{Target: at, Data: values("new")}, "r2"); told(err) != subjects.InvalidArgument {
			t.Errorf("another patch under the same request id: %v", err)
		}
		if got := b.fresh(t, at); got.Version != patched.Version || text(got.Data)["password"] != "old" {
			t.Errorf("the refused patch left %q with %v", got.Version, text(got.Data))
		}
	})
}

// A repeat that cannot be compared must not be acknowledged.
func TestRepeatIsNotReadable(t *testing.T) {
	at := target("org:acme", "db")
	shared := storetest.NewFaults(memory.New())
	b := newBed(t, shared, nil, nil)
	item := database(at)
	if _, err := b.Store(t.Context(), &item, "r1"); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []error{store.ErrUnavailable, store.ErrDamaged, store.ErrPermission, seal.ErrDecrypt} {
		shared.Set(storetest.Get, storetest.Fault{Err: fault})
		_, err := b.Store(t.Context(), &item, "r1")
		if told, _ := manager.Explain(err, at); !errors.Is(err, fault) || !told.OutcomeUnknown {
			t.Errorf("a repeat whose record cannot be read: %v (%+v)", err, told)
		}
	}
}
