package manager_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/cache"
	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// countingRing is a keyring that counts its uses.
type countingRing struct {
	manager.Keyring
	sealed, opened, verified atomic.Int64
}

func (c *countingRing) Seal(plaintext []byte, b seal.Binding) ([]byte, error) {
	c.sealed.Add(1)
	return c.Keyring.Seal(plaintext, b)
}

func (c *countingRing) SealRecord(plaintext []byte, b seal.Binding) (sealed, proof []byte, err error) {
	c.sealed.Add(1)
	return c.Keyring.SealRecord(plaintext, b)
}

func (c *countingRing) Open(sealed []byte, b seal.Binding) ([]byte, error) {
	c.opened.Add(1)
	return c.Keyring.Open(sealed, b)
}

func (c *countingRing) Verify(proof []byte, b seal.Binding) error {
	c.verified.Add(1)
	return c.Keyring.Verify(proof, b)
}

// used returns the counts so far and begins anew.
func (c *countingRing) used() [3]int64 {
	return [3]int64{c.sealed.Swap(0), c.opened.Swap(0), c.verified.Swap(0)}
}

// A record must be opened only once for all waiting readers and both caches.
func TestAFlightOpensItsRecordOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ring := &countingRing{Keyring: keyring(t)}
		s := &gates{Faults: storetest.NewFaults(memory.New())}
		known, err := cache.New(cache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer known.Close()
		b := newBed(t, s, nil, func(c *manager.Config) { c.Keyring, c.LastKnown = ring, known })
		at := target("org:acme", "db")
		b.store(t, at, "value")
		ring.used()
		open := s.closeGet()
		var readers sync.WaitGroup
		for range 8 {
			readers.Go(func() {
				if got := b.value(t, subjects.RetrieveItem{Target: at}); got != "value" {
					t.Errorf("got %q", got)
				}
			})
		}
		synctest.Wait()
		open()
		readers.Wait()
		if got, want := ring.used(), [3]int64{0, 1, 1}; got != want {
			t.Errorf("8 readers of one flight sealed, opened and verified %d times, want %d", got, want)
		}
		synctest.Wait()
		if b.cache.Stats().Entries != 1 || known.Stats().Entries != 1 {
			t.Error("the flight's result is not cached")
		}
	})
}

// lending is a native store that remembers the values that it returned.
type lending struct {
	native
	mu    sync.Mutex
	given []subjects.Data
}

func (l *lending) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	record, err := l.native.Get(ctx, key)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.given = append(l.given, record.Data)
	}
	return record, err
}

// Values in native form must be neither sealed nor opened, and their readers
// must wipe them.
func TestNativeValuesAreNotSealed(t *testing.T) {
	ring := &countingRing{Keyring: keyring(t)}
	s := &lending{native: native{memory.New()}}
	b := newBed(t, s, nil, func(c *manager.Config) { c.Keyring, c.RequireFormat = ring, 2 })
	at := target("org:acme", "db")
	b.store(t, at, "value")
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, fresh := range []bool{false, false, true} {
		if got := b.value(t, subjects.RetrieveItem{Target: at, Fresh: fresh}); got != "value" {
			t.Errorf("fresh %v: got %q", fresh, got)
		}
	}
	reply, err := b.Validate(t.Context(), at)
	if must("validate", err); reply.Status != subjects.Valid {
		t.Errorf("validate: %+v", reply)
	}
	_, err = b.Standing(t.Context(), at)
	must("standing", err)
	_, err = b.Patch(t.Context(), &subjects.PatchItem{Target: at, Data: subjects.Data{"more": subjects.NewSecret([]byte("x"))}}, "")
	must("patch", err)
	for range 2 { // the second time, it is compared with the stored record
		_, err = b.Store(t.Context(), &subjects.StoreItem{Target: at, Data: subjects.Value([]byte("next"))}, "r1")
		must("store", err)
	}
	_, err = b.ResealPage(t.Context(), &subjects.ResealRequest{Scope: "org:acme"})
	must("reseal", err)
	if got := ring.used(); got != [3]int64{} {
		t.Errorf("sealed, opened and verified %d times", got)
	}
	awaitFlights(t, b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.given) < 6 {
		t.Errorf("the store was read %d times", len(s.given))
	}
	for i, data := range s.given {
		for name, value := range data {
			for _, c := range value.Bytes() {
				if c != 0 {
					t.Fatalf("read %d of %d: %s is not wiped", i+1, len(s.given), name)
				}
			}
		}
	}
}

// awaitFlights waits until no flight is left: a flight may outlive its readers.
func awaitFlights(t *testing.T, b *bed) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); b.FlightsUnderWay() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a flight does not end")
		}
	}
}

// The shared reply must exist until the last reader has left, and no longer.
func TestAFlightIsWipedWhenAllHaveLeft(t *testing.T) {
	for name, order := range map[string][]string{
		"readers leave after the load":  {"load", "leave", "leave"},
		"one gives up before the load":  {"leave", "load", "leave"},
		"all give up before the load":   {"leave", "leave", "load"},
		"nobody joins the first reader": {"load", "leave"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				reply, answered := []byte("secret"), make(chan struct{})
				var flights manager.Flights
				var leave []func()
				for range len(order) - 1 {
					leave = append(leave, flights.Join(func() []byte { <-answered; return reply }))
				}
				for i, step := range order {
					if string(reply) != "secret" {
						t.Fatalf("wiped before step %d of %v", i, order)
					}
					if step == "load" {
						close(answered)
					} else {
						leave[0]()
						leave = leave[1:]
					}
					synctest.Wait()
				}
				if string(reply) != "\x00\x00\x00\x00\x00\x00" {
					t.Errorf("after %v the reply is %q", order, reply)
				}
			})
		})
	}
}
