package manager_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// rotated gives both beds a keyring whose primary is a new key.
func rotated(t *testing.T, ring *seal.Keyring, lives ...*seal.Live) *seal.Keyring {
	t.Helper()
	next, err := ring.Rotated()
	if err != nil {
		t.Fatal(err)
	}
	for _, live := range lives {
		if err := live.Swap(next); err != nil {
			t.Fatal(err)
		}
	}
	return next
}

// A record sealed again keeps its values and metadata, and opens without the
// old key. It gets a new version, which other replicas learn.
func TestReseal(t *testing.T) {
	shared, log, ring := memory.New(), coherencetest.NewLog(), keyring(t)
	one, two := seal.NewLive(ring, seal.LiveConfig{}), seal.NewLive(ring, seal.LiveConfig{})
	a := newBed(t, shared, log, func(c *manager.Config) { c.Keyring = one })
	b := newBed(t, shared, log, func(c *manager.Config) { c.Keyring = two })
	at := target("org:acme", "db")
	stored := a.storeItem(t, subjects.StoreItem{Target: at, Data: subjects.Value([]byte("s3cret")), Metadata: subjects.Metadata{
		Description: "a database", Tags: map[string]string{"env": "prod"}, RotationDays: 30, Inheritable: true, Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	}})
	a.store(t, target("org:acme/team:a", "other"), "x")
	a.store(t, target("org:else", "not-asked-for"), "x")
	before, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, stored.Revision) // and cached
	if err != nil {
		t.Fatal(err)
	}
	next := rotated(t, ring, one, two)
	reply, err := a.ResealPage(t.Context(), &subjects.ResealRequest{Scope: "org:acme"})
	if err != nil || reply.Resealed != 2 || reply.Current != 0 || reply.Primary != next.PrimaryID() || reply.Cursor != "" || reply.Revision.IsZero() || len(reply.Failed) > 0 {
		t.Fatalf("%+v, %v", reply, err)
	}
	after, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, reply.Revision)
	if err != nil {
		t.Fatal(err)
	}
	if after.Version == before.Version || fmt.Sprint(after.Metadata) != fmt.Sprint(before.Metadata) || string(after.Data[subjects.ValueName].Bytes()) != "s3cret" {
		t.Errorf("before %v %v, after %v %v", before.Version, before.Metadata, after.Version, after.Metadata)
	}
	record, err := shared.Get(t.Context(), at)
	if err != nil || !next.SealedByPrimary(record.Payload) {
		t.Errorf("it is not sealed by the primary: %v", err)
	}
	if reply, err = a.ResealPage(t.Context(), &subjects.ResealRequest{}); err != nil || reply.Resealed != 1 || reply.Current != 2 {
		t.Errorf("again, everywhere: %+v, %v", reply, err)
	}
	without, err := next.Without(ring.PrimaryID())
	if err != nil {
		t.Fatal(err)
	}
	c := newBed(t, shared, log, func(c *manager.Config) { c.Keyring = without })
	if got := c.value(t, subjects.RetrieveItem{Target: at}); got != "s3cret" {
		t.Errorf("without the old key: %q", got)
	}
}

// meddling is a store in which somebody else writes between a read and the next
// write.
type meddling struct {
	store.Store
	meddle func(subjects.Target)
}

func (m *meddling) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	record, err := m.Store.Get(ctx, key)
	if m.meddle != nil {
		m.meddle(key)
	}
	return record, err
}

// A write by others meanwhile wins; sealed by the primary, it counts as
// current.
func TestResealAgainstWrites(t *testing.T) {
	for what, meddle := range map[string]func(*bed, subjects.Target) error{
		"store": func(b *bed, at subjects.Target) error {
			_, err := b.Store(context.Background(), &subjects.StoreItem{Target: at, Data: subjects.Value([]byte("new"))}, "")
			return err
		},
		"delete": func(b *bed, at subjects.Target) error {
			_, err := b.Delete(context.Background(), subjects.DeleteItem{Target: at})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			shared, log, ring := memory.New(), coherencetest.NewLog(), keyring(t)
			live := seal.NewLive(ring, seal.LiveConfig{})
			between := &meddling{Store: shared}
			a := newBed(t, between, log, func(c *manager.Config) { c.Keyring = live })
			b := newBed(t, shared, log, func(c *manager.Config) { c.Keyring = live })
			at := target("org:acme", "db")
			a.store(t, at, "old")
			rotated(t, ring, live)
			var once atomic.Bool
			between.meddle = func(subjects.Target) {
				if once.CompareAndSwap(false, true) {
					if err := meddle(b, at); err != nil {
						t.Error(err)
					}
				}
			}
			reply, err := a.ResealPage(t.Context(), &subjects.ResealRequest{})
			if err != nil || reply.Current != 1 || reply.Resealed != 0 || len(reply.Failed) > 0 {
				t.Fatalf("%+v, %v", reply, err)
			}
			if what == "store" {
				if got := b.value(t, subjects.RetrieveItem{Target: at, Fresh: true}); got != "new" {
					t.Errorf("it is %q", got)
				}
			}
		})
	}
}

// nativeBelow is a store that keeps values in its own form below org:native.
type nativeBelow struct{ store.Store }

func (nativeBelow) Native(scope subjects.Scope) bool {
	return subjects.Scope("org:native").Contains(scope)
}

// A record that does not open is reported and stops nothing. Native records are
// left alone.
func TestResealOfWhatItCannotSeal(t *testing.T) {
	shared, ring := memory.New(), keyring(t)
	live := seal.NewLive(ring, seal.LiveConfig{})
	b := newBed(t, nativeBelow{shared}, nil, func(c *manager.Config) { c.Keyring = live })
	good, lost, plain := target("org:a", "good"), target("org:b", "lost"), target("org:native", "plain")
	b.store(t, good, "1")
	b.store(t, plain, "2")
	stranger := newBed(t, shared, nil, nil) // with a key of its own
	stranger.store(t, lost, "3")
	rotated(t, ring, live)
	reply, err := b.ResealPage(t.Context(), &subjects.ResealRequest{})
	if err != nil || reply.Resealed != 1 || reply.Native != 1 || len(reply.Failed) != 1 {
		t.Fatalf("%+v, %v", reply, err)
	}
	if told := reply.Failed[0]; told.Code != subjects.DecryptFailed || told.Scope != lost.Scope || told.ID != lost.ID {
		t.Errorf("%+v", told)
	}
	if got := b.value(t, subjects.RetrieveItem{Target: plain}); got != "2" {
		t.Errorf("the native record became %q", got)
	}
}

// slow is a store with slow writes.
type slow struct {
	store.Store
	pause time.Duration
}

func (s slow) Put(ctx context.Context, record *store.Record, pre store.Precondition) (string, error) {
	time.Sleep(s.pause)
	return s.Store.Put(ctx, record, pre)
}

// A page ends in time, reports the number of remaining records, and continues
// with the same cursor.
func TestResealWithinADeadline(t *testing.T) {
	const n = 40
	shared, ring := memory.New(), keyring(t)
	live := seal.NewLive(ring, seal.LiveConfig{})
	first := newBed(t, shared, nil, func(c *manager.Config) { c.Keyring = live })
	for i := range n {
		first.store(t, target("org:acme", fmt.Sprintf("id-%02d", i)), "x")
	}
	rotated(t, ring, live)
	b := newBed(t, slow{shared, 100 * time.Millisecond}, nil, func(c *manager.Config) { c.Keyring, c.BatchConcurrency = live, 2 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	reply, err := b.ResealPage(ctx, &subjects.ResealRequest{})
	if err != nil || ctx.Err() != nil || reply.Resealed == 0 || reply.Remaining == 0 || reply.Resealed+reply.Remaining != n || len(reply.Failed) > 0 {
		t.Fatalf("%+v, %v", reply, err)
	}
	again, err := b.ResealPage(t.Context(), &subjects.ResealRequest{})
	if err != nil || again.Current != reply.Resealed || again.Resealed != reply.Remaining || again.Remaining != 0 {
		t.Errorf("%+v, then %+v, %v", reply, again, err)
	}
}
