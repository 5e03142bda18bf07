package manager_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

func TestHitNeedsNoStore(t *testing.T) {
	faults := storetest.NewFaults(memory.New())
	b := newBed(t, faults, nil, nil)
	at := target("org:acme", "db")
	b.store(t, at, "one")
	item := subjects.RetrieveItem{Target: at}
	b.value(t, item)
	reads := faults.Calls(storetest.Get)
	for range 10 {
		if got := b.value(t, item); got != "one" {
			t.Fatalf("got %q", got)
		}
		reply, _, ok := b.Hit(nil, []byte(at.Scope), []byte(at.ID), nil)
		if !ok || len(reply) == 0 {
			t.Fatal("a cached credential is not a hit")
		}
	}
	if n := faults.Calls(storetest.Get) - reads; n != 0 {
		t.Errorf("%d reads of the store for a cached credential", n)
	}
	item.Fresh = true
	b.value(t, item)
	if n := faults.Calls(storetest.Get) - reads; n != 1 {
		t.Errorf("%d reads of the store for a fresh retrieve, want 1", n)
	}
}

// After a miss of Hit, the cache is searched again only if something was cached
// since. The miss counts once in either case.
func TestMissIsLookedUpOnce(t *testing.T) {
	faults := storetest.NewFaults(memory.New())
	b := newBed(t, faults, nil, nil)
	at, other := target("org:acme", "db"), target("org:acme", "other")
	b.store(t, at, "one")
	b.store(t, other, "two")
	miss := func() manager.Miss {
		_, miss, ok := b.Hit(nil, []byte(at.Scope), []byte(at.ID), nil)
		if ok || miss == (manager.Miss{}) {
			t.Fatalf("not cached: %+v, %v", miss, ok)
		}
		return miss
	}
	missed := func(miss manager.Miss) {
		if _, _, err := b.RetrieveMissed(t.Context(), nil, subjects.RetrieveItem{Target: at}, subjects.Revision{}, miss); err != nil {
			t.Fatal(err)
		}
		awaitFlights(t, b)
	}
	early, late := miss(), miss()
	if s := b.cache.Stats(); s.Misses != 2 || s.Hits != 0 {
		t.Errorf("two lookups count as %+v", s)
	}
	reads := faults.Calls(storetest.Get)
	missed(early) // reads the store and fills
	missed(late)  // finds that
	if n := faults.Calls(storetest.Get) - reads; n != 1 {
		t.Errorf("two concurrent misses made %d reads of the store", n)
	}
	if s := b.cache.Stats(); s.Misses != 1 || s.Hits != 1 {
		t.Errorf("a miss, and a miss that became a hit, count as %+v", s)
	}
	b.cache.Drop(string(at.Scope), string(at.ID))
	late = miss()
	b.value(t, subjects.RetrieveItem{Target: other}) // fills another credential
	missed(late)
	if s := b.cache.Stats(); s.Misses != 3 || s.Hits != 1 {
		t.Errorf("a miss that was looked up again counts as %+v", s)
	}
}

// Once a write is acknowledged, no replica returns the cached old value to a
// request with the revision of the write.
func TestWriteOnOneReadOnAnother(t *testing.T) {
	shared, log, ring := memory.New(), coherencetest.NewLog(), keyring(t)
	same := func(c *manager.Config) { c.Keyring = ring }
	a, b := newBed(t, shared, log, same), newBed(t, shared, log, same)
	at := target("org:acme", "db")
	for i := range 100 {
		want := string(rune('a' + i%26))
		reply := a.store(t, at, want)
		got, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, reply.Revision)
		if err != nil || string(got.Data[subjects.ValueName].Bytes()) != want {
			t.Fatalf("round %d: %v, %v", i, got, err)
		}
		a, b = b, a
	}
}

func TestInherit(t *testing.T) {
	b := newBed(t, memory.New(), nil, nil)
	for _, item := range []subjects.StoreItem{
		{Target: target("org:acme", "shared"), Metadata: subjects.Metadata{Inheritable: true}},
		{Target: target("org:acme", "private")},
		{Target: target("org:acme", "both"), Metadata: subjects.Metadata{Inheritable: true}},
		{Target: target("org:acme/team:eng", "both"), Metadata: subjects.Metadata{Inheritable: true}},
		{Target: target("org:acme", "gap"), Metadata: subjects.Metadata{Inheritable: true}},
		{Target: target("org:acme/team:eng", "gap")},
		{Target: target("org:acme/team:eng/service:api", "own")},
	} {
		item.Data = subjects.Value([]byte("of " + string(item.Scope)))
		b.storeItem(t, item)
	}
	const api = "org:acme/team:eng/service:api"
	for _, c := range []struct{ id, want string }{
		{"own", "of " + api},
		{"shared", "of org:acme"},
		{"private", ""},
		{"both", "of org:acme/team:eng"},
		{"gap", "of org:acme"}, // the nearest one is not inheritable
		{"none", ""},
	} {
		item := subjects.RetrieveItem{Target: target(api, c.id), Inherit: true}
		for _, how := range []string{"from the store", "from the cache"} {
			reply, err := b.retrieve(t.Context(), item, subjects.Revision{})
			switch {
			case c.want == "" && !errors.Is(err, store.ErrNotFound):
				t.Errorf("%s %s: %v, want not found", c.id, how, err)
			case c.want != "" && (err != nil || string(reply.Data[subjects.ValueName].Bytes()) != c.want):
				t.Errorf("%s %s: %v, want the value %q", c.id, how, err, c.want)
			case c.want != "" && string(reply.Scope) != c.want[len("of "):]:
				t.Errorf("%s %s: the reply names scope %q", c.id, how, reply.Scope)
			}
		}
		item.Inherit = false
		if _, err := b.retrieve(t.Context(), item, subjects.Revision{}); c.id != "own" && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s without inherit: %v, want not found", c.id, err)
		}
	}
}

// An inherited lookup reads the store once for each scope, and later not at
// all, even if no scope has the credential.
func TestInheritFromTheCache(t *testing.T) {
	faults := storetest.NewFaults(memory.New())
	b := newBed(t, faults, nil, nil)
	shared := subjects.StoreItem{Target: target("org:acme", "shared"), Data: subjects.Value([]byte("x")), Metadata: subjects.Metadata{Inheritable: true}}
	b.storeItem(t, shared)
	for _, id := range []string{"shared", "none"} {
		item := subjects.RetrieveItem{Target: target("org:acme/team:eng/service:api", id), Inherit: true}
		for round, want := range []int{3, 0, 0} {
			reads := faults.Calls(storetest.Get)
			_, err := b.retrieve(t.Context(), item, b.replica.Applied())
			if err != nil && told(err) != subjects.NotFound {
				t.Fatal(err)
			}
			if n := faults.Calls(storetest.Get) - reads; n != want {
				t.Errorf("%s, round %d: %d reads of the store, want %d", id, round, n, want)
			}
		}
	}
}

// The caller must not learn whether an ancestor has a credential that is not
// inheritable, nor whether that one opens.
func TestInheritPastWhatDoesNotOpen(t *testing.T) {
	s := memory.New()
	b := newBed(t, s, nil, nil)
	const api = "org:acme/team:eng/service:api"
	spoil := func(at subjects.Target) {
		record, err := s.Get(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		record.Payload = []byte("not what was sealed") // its header is proven
		put(t, s, record)
	}
	for _, id := range []string{"private", "shared"} {
		at := target("org:acme", id)
		b.storeItem(t, subjects.StoreItem{Target: at, Data: subjects.Value([]byte("x")), Metadata: subjects.Metadata{Inheritable: id == "shared"}})
		spoil(at)
	}
	for id, want := range map[string]subjects.Code{"private": subjects.NotFound, "shared": subjects.DecryptFailed} {
		for range 2 {
			_, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: target(api, id), Inherit: true}, subjects.Revision{})
			if told(err) != want {
				t.Errorf("%s: %v, want %s", id, err, want)
			}
		}
	}
}

// Concurrent readers of one key share a store read, and each gets the value.
func TestReadersShareAFlight(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		faults := storetest.NewFaults(memory.New())
		b := newBed(t, faults, nil, nil)
		at := target("org:acme", "db")
		b.store(t, at, "one")
		faults.Set(storetest.Get, storetest.Fault{Latency: 50 * time.Millisecond})
		before := faults.Calls(storetest.Get)
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if got := b.value(t, subjects.RetrieveItem{Target: at}); got != "one" {
					t.Errorf("got %q", got)
				}
			})
		}
		group.Wait()
		if n := faults.Calls(storetest.Get) - before; n != 1 {
			t.Errorf("100 readers at once made %d reads of the store, want 1", n)
		}
	})
}

// Joining a flight that began before an invalidation: a reader that begins
// after a write was acknowledged must not be given what the flight read.
func TestNoJoiningAFlightFromBeforeAWrite(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		faults := storetest.NewFaults(memory.New())
		slow := &slowAnswers{Store: faults}
		b := newBed(t, slow, nil, nil)
		at := target("org:acme", "db")
		b.store(t, at, "old")
		slow.delay(time.Second) // delays answers after the read
		var early sync.WaitGroup
		early.Go(func() {
			if got := b.value(t, subjects.RetrieveItem{Target: at}); got != "old" {
				t.Errorf("the early reader got %q", got)
			}
		})
		synctest.Wait()
		b.store(t, at, "new")
		slow.delay(0)
		if got := b.value(t, subjects.RetrieveItem{Target: at}); got != "new" {
			t.Errorf("after the write a reader got %q", got)
		}
		early.Wait()
		if got := b.value(t, subjects.RetrieveItem{Target: at}); got != "new" {
			t.Errorf("the early reader's fill is served: %q", got)
		}
	})
}

// slowAnswers reads at once and answers later.
type slowAnswers struct {
	store.Store
	mu      sync.Mutex
	latency time.Duration
}

func (s *slowAnswers) delay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

func (s *slowAnswers) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	record, err := s.Store.Get(ctx, key)
	s.mu.Lock()
	latency := s.latency
	s.mu.Unlock()
	time.Sleep(latency)
	return record, err
}

func TestLimitsOfTheStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		faults := storetest.NewFaults(memory.New())
		b := newBed(t, faults, nil, nil)
		at := target("org:acme", "db")
		b.store(t, at, "one")
		hang := storetest.Fault{Hang: true}
		faults.Set(storetest.Get, hang)
		faults.Set(storetest.Put, hang)
		begun := time.Now()
		_, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, subjects.Revision{})
		if code := told(err); code != subjects.StorageTimeout || time.Since(begun) != 5*time.Second {
			t.Errorf("a store that hangs on a read: %s after %s", code, time.Since(begun))
		}
		begun = time.Now()
		_, err = b.Store(t.Context(), &subjects.StoreItem{Target: at, Data: subjects.Value([]byte("two"))}, "")
		if code := told(err); code != subjects.StorageTimeout || time.Since(begun) != 10*time.Second {
			t.Errorf("a store that hangs on a write: %s after %s", code, time.Since(begun))
		}
		if _, ok := b.replica.Token(at, subjects.Revision{}); ok {
			t.Error("a key whose write may still land is cached")
		}
	})
}

func told(err error) subjects.Code {
	if err == nil {
		return ""
	}
	e, _ := manager.Explain(err, subjects.Target{})
	return e.Code
}

// If another write came in between, a store repeated under its request id takes
// effect again, and every replica must learn of it again.
func TestRepeatedStoreAfterAnother(t *testing.T) {
	shared, log, ring := memory.New(), coherencetest.NewLog(), keyring(t)
	same := func(c *manager.Config) { c.Keyring = ring }
	a, b := newBed(t, shared, log, same), newBed(t, shared, log, same)
	at := target("org:acme", "db")
	for _, request := range []string{"r1", "r2", "r1"} {
		reply, err := a.Store(t.Context(), &subjects.StoreItem{Target: at, Data: subjects.Value([]byte(request))}, request)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second one from the cache
			got, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, reply.Revision)
			if err != nil || string(got.Data[subjects.ValueName].Bytes()) != request {
				t.Fatalf("after %s: %v, %v", request, got, err)
			}
		}
	}
}
