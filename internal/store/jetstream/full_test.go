package jetstream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"credbus/internal/store"
)

// fill puts records until the store refuses one, and returns its error.
func fill(t *testing.T, s store.Store) error {
	t.Helper()
	for i := range 1000 {
		rec := newRecord("org:acme", fmt.Sprintf("filler-%d", i), "w")
		rec.Payload = make([]byte, 4<<10)
		if _, err := s.Put(t.Context(), rec, store.Precondition{}); err != nil {
			return err
		}
	}
	t.Fatal("the store took 4 MB")
	return nil
}

// readsAndRecovers asks a full store what it must still do, and has room made.
func readsAndRecovers(t *testing.T, s store.Store, kept *store.Record, version string, makeRoom func()) {
	t.Helper()
	larger := newRecord(string(kept.Scope), string(kept.ID), "w2")
	larger.Payload = make([]byte, 32<<10)
	_, err := s.Put(t.Context(), larger, store.Precondition{Version: version})
	if !errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "store.bucket") {
		t.Errorf("a write without room: %v", err)
	}
	if rec, err := s.Get(t.Context(), kept.Key); err != nil || rec.Version != version || rec.WriteID != kept.WriteID {
		t.Errorf("a read without room: %+v, %v", rec, err)
	}
	if page, err := s.List(t.Context(), store.ListOptions{Limit: 1}); err != nil || len(page.Records) != 1 {
		t.Errorf("a list without room: %+v, %v", page, err)
	}
	makeRoom()
	if _, err := s.Put(t.Context(), larger, store.Precondition{Version: version}); err != nil {
		t.Errorf("a write when there is room again: %v", err)
	}
}

// A full bucket refuses writes, and nothing else; what is deleted makes room.
func TestFullBucket(t *testing.T) {
	b := newBed(t)
	name := b.bucket()
	s := b.open(t, name)
	config := b.stream(t, name).CachedInfo().Config
	config.MaxBytes = 256 << 10
	if _, err := b.admin(t).UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	kept := newRecord("org:acme", "kept", "w1")
	version := put(t, s, kept)
	if err := fill(t, s); !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	readsAndRecovers(t, s, kept, version, func() {
		for i := range 10 {
			must(t, s.Delete(t.Context(), store.Key{Scope: "org:acme", ID: newRecord("org:acme", fmt.Sprintf("filler-%d", i), "").ID}, store.Precondition{}))
		}
	})
}

// So does a bucket in a full account.
func TestFullAccount(t *testing.T) {
	b := newBed(t)
	s := b.open(t, b.bucket())
	limit := func(bytes int64) {
		t.Helper()
		must(t, b.server.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": {MaxMemory: -1, MaxStore: bytes, MaxStreams: -1, MaxConsumers: -1}}))
	}
	limit(256 << 10)
	kept := newRecord("org:acme", "kept", "w1")
	version := put(t, s, kept)
	if err := fill(t, s); !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	readsAndRecovers(t, s, kept, version, func() { limit(1 << 20) })
}
