package jetstream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"credbus/internal/store"
	"credbus/internal/store/jetstream"
	"credbus/subjects"
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
	t.Fatal("the store accepted 4 MB")
	return nil
}

// readsAndRecovers checks the reads of a full store, makes room, and checks a write.
func readsAndRecovers(t *testing.T, s store.Store, kept *store.Record, version string, makeRoom func()) {
	t.Helper()
	larger := newRecord(string(kept.Scope), string(kept.ID), "w2")
	larger.Payload = make([]byte, 32<<10)
	_, err := s.Put(t.Context(), larger, store.Precondition{Version: version})
	if !errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "store.bucket") {
		t.Errorf("a write without room: %v", err)
	}
	if rec, err := s.Get(t.Context(), kept.Target); err != nil || rec.Version != version || rec.WriteID != kept.WriteID {
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

// A full bucket refuses writes, and nothing else. A delete makes room.
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
			must(t, s.Delete(t.Context(), subjects.Target{Scope: "org:acme", ID: newRecord("org:acme", fmt.Sprintf("filler-%d", i), "").ID}, store.Precondition{}))
		}
	})
}

// A bucket in a full account refuses writes, and nothing else.
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

// The bucket works in an account that requires a size limit for every stream.
func TestMaxBytes(t *testing.T) {
	b := newBed(t)
	must(t, b.server.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": {MaxMemory: -1, MaxStore: 64 << 20, MaxStreams: -1, MaxConsumers: -1, MaxBytesRequired: true}}))
	name := b.bucket()
	open := func(bytes int64) (bound int64, err error) {
		s, err := jetstream.New(t.Context(), b.connect(t), jetstream.Config{Bucket: name, MaxBytes: bytes})
		if err != nil {
			return 0, err
		}
		defer s.Close(t.Context())
		return b.stream(t, name).CachedInfo().Config.MaxBytes, nil
	}
	if _, err := open(0); err == nil || !strings.Contains(err.Error(), "store.max_bytes") {
		t.Errorf("without a limit: %v, want the setting", err)
	}
	for _, test := range []struct{ asked, want int64 }{{8 << 20, 8 << 20}, {4 << 20, 8 << 20}, {16 << 20, 16 << 20}} {
		if bound, err := open(test.asked); err != nil || bound != test.want {
			t.Errorf("configured %d: the limit is %d, %v; want %d", test.asked, bound, err, test.want)
		}
	}
}

// Every client of a bucket finds the same identity. A bucket that is deleted and made
// again has another one. A bucket that was made by hand has one too.
func TestIdentity(t *testing.T) {
	b := newBed(t)
	identity := func(s *jetstream.Store) string {
		t.Helper()
		text, err := s.Identity(t.Context())
		if err != nil || text == "" || len(text) > 255 {
			t.Fatalf("identity %q, %v", text, err)
		}
		return text
	}
	name := b.bucket()
	s := b.open(t, name)
	first := identity(s)
	if again := identity(b.open(t, name)); again != first {
		t.Errorf("another client finds %s, the first one %s", again, first)
	}
	if other := identity(b.open(t, b.bucket())); other == first {
		t.Error("two buckets have one identity")
	}
	must(t, b.admin(t).DeleteKeyValue(t.Context(), name))
	if _, err := s.Identity(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("identity of a missing bucket: %v", err)
	}
	b.open(t, name)
	if now := identity(s); now == first {
		t.Error("a new bucket has the identity of the old one")
	}

	byHand := b.bucket()
	_, err := b.admin(t).CreateKeyValue(t.Context(), natsjs.KeyValueConfig{Bucket: byHand})
	must(t, err)
	if one, two := identity(b.open(t, byHand)), identity(b.open(t, byHand)); one != two {
		t.Errorf("a bucket made by hand has identity %s, then %s", one, two)
	}
	must(t, s.Close(t.Context()))
	if _, err := s.Identity(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
