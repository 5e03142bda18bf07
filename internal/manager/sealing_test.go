package manager_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// put puts exactly this record into a store, like a person with write access.
func put(t testing.TB, s store.Store, record *store.Record) {
	t.Helper()
	_ = s.Delete(t.Context(), record.Target, store.Precondition{}) // a Put with a known write id has no effect
	if _, err := s.Put(t.Context(), record, store.Precondition{}); err != nil {
		t.Fatal(err)
	}
}

func raw(t testing.TB, s store.Store, at subjects.Target) *store.Record {
	t.Helper()
	record, err := s.Get(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// changed seals a changed record again, like a worker.
func changed(t testing.TB, ring manager.Keyring, record *store.Record, change func(*store.Record)) *store.Record {
	t.Helper()
	plain, err := ring.Open(record.Payload, manager.HeaderOf(record))
	if err != nil {
		t.Fatal(err)
	}
	change(record)
	if record.Payload, record.Proof, err = ring.SealRecord(plain, manager.HeaderOf(record)); err != nil {
		t.Fatal(err)
	}
	return record
}

// format1 converts a record to the format of an earlier release.
func format1(t testing.TB, ring manager.Keyring, record *store.Record) *store.Record {
	t.Helper()
	binding := manager.HeaderOf(record)
	plain, err := ring.Open(record.Payload, binding)
	if err != nil {
		t.Fatal(err)
	}
	binding.Header = nil
	if record.Payload, err = ring.Seal(plain, binding); err != nil {
		t.Fatal(err)
	}
	record.Proof = nil
	return record
}

func (b *bed) listed(t testing.TB, request *subjects.ListRequest) []subjects.Credential {
	t.Helper()
	reply, err := b.List(t.Context(), request, 1<<20, func(b []byte) int { return len(b) })
	if err != nil {
		t.Fatal(err)
	}
	return reply.Items
}

var sealedMetadata = subjects.Metadata{
	Description: "a database", Tags: map[string]string{"env": "prod", "tier": "1"}, RotationDays: 30,
	Expires: time.UnixMilli(1_900_000_000_000).UTC(),
}

// A person with write access to the store but without the keyring changes each
// part of a record in turn. Workers must not accept any of them.
func TestMutatedRecordIsRefused(t *testing.T) {
	ring, at, other := keyring(t), target("org:acme", "db"), target("org:acme", "other")
	mutations := map[string]func(r, older, other *store.Record){
		"write id":            func(r, _, _ *store.Record) { r.WriteID += "x" },
		"write id of another": func(r, _, other *store.Record) { r.WriteID = other.WriteID },
		"revision":            func(r, _, _ *store.Record) { r.Revision.Seq++ },
		"no revision":         func(r, _, _ *store.Record) { r.Revision = subjects.Revision{} },
		"modified":            func(r, _, _ *store.Record) { r.Modified = r.Modified.Add(time.Millisecond) },
		"expires":             func(r, _, _ *store.Record) { r.Expires = r.Expires.Add(time.Hour) },
		"no expiry":           func(r, _, _ *store.Record) { r.Expires = time.Time{} },
		"rotation":            func(r, _, _ *store.Record) { r.RotationDays++ },
		"inheritable":         func(r, _, _ *store.Record) { r.Inheritable = !r.Inheritable },
		"description":         func(r, _, _ *store.Record) { r.Description += "." },
		"tag changed":         func(r, _, _ *store.Record) { r.Tags["env"] = "test" },
		"tag added":           func(r, _, _ *store.Record) { r.Tags["more"] = "" },
		"tag removed":         func(r, _, _ *store.Record) { delete(r.Tags, "env") },
		"tags swapped":        func(r, _, _ *store.Record) { r.Tags = map[string]string{"env": "1", "tier": "prod"} },
		"tag run together":    func(r, _, _ *store.Record) { r.Tags = map[string]string{"envp": "rod", "tier": "1"} },
		"text moved":          func(r, _, _ *store.Record) { r.Description, r.Tags["env"] = "a databas", "eprod" },
		"payload":             func(r, _, _ *store.Record) { r.Payload[len(r.Payload)-1] ^= 1 },
		"payload of older":    func(r, older, _ *store.Record) { r.Payload = older.Payload },
		"payload of another":  func(r, _, other *store.Record) { r.Payload = other.Payload },
		"header of older":     func(r, older, _ *store.Record) { p := r.Payload; *r = *older; r.Payload = p },
		"proof":               func(r, _, _ *store.Record) { r.Proof[len(r.Proof)-1] ^= 1 },
		"proof cut":           func(r, _, _ *store.Record) { r.Proof = r.Proof[:len(r.Proof)-1] },
		"proof of older":      func(r, older, _ *store.Record) { r.Proof = older.Proof },
		"proof of another":    func(r, _, other *store.Record) { r.Proof = other.Proof },
		"another record here": func(r, _, other *store.Record) { k := r.Target; *r = *other; r.Target = k },
		"downgrade":           func(r, _, _ *store.Record) { r.Proof = nil },
		"downgrade, then inheritable": func(r, _, _ *store.Record) {
			r.Proof, r.Inheritable = nil, true
		},
	}
	// A list sees only headers: these mutations have a valid one, of this write
	// or of an older one.
	unlisted := []string{"payload", "payload of older", "payload of another", "header of older"}
	accepted := 0
	for _, name := range slices.Sorted(maps.Keys(mutations)) {
		s := memory.New()
		b := newBed(t, s, nil, func(c *manager.Config) { c.Keyring = ring })
		b.storeItem(t, subjects.StoreItem{Target: at, Data: subjects.Value([]byte("old")), Metadata: sealedMetadata})
		older := raw(t, s, at)
		b.storeItem(t, subjects.StoreItem{Target: at, Data: subjects.Value([]byte("new")), Metadata: sealedMetadata})
		b.store(t, other, "other")
		record := raw(t, s, at)
		mutations[name](record, older, raw(t, s, other))
		put(t, s, record)

		if _, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at, Fresh: true}, subjects.Revision{}); told(err) != subjects.DecryptFailed {
			accepted++
			t.Errorf("%s: retrieve: %v", name, err)
		}
		below := target("org:acme/team:eng", "db")
		if _, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: below, Inherit: true}, subjects.Revision{}); err == nil {
			accepted++
			t.Errorf("%s: it is inherited", name)
		}
		if reply, err := b.Validate(t.Context(), at); err != nil || reply.Status != subjects.Malformed {
			accepted++
			t.Errorf("%s: validate: %+v, %v", name, reply, err)
		}
		if slices.Contains(unlisted, name) {
			continue
		}
		items := b.listed(t, &subjects.ListRequest{Scope: "org:acme"})
		if len(items) != 2 || items[0].ID != at.ID || items[0].Damaged == "" || items[0].Tags != nil || !items[0].Expires.IsZero() {
			accepted++
			t.Errorf("%s: list: %+v", name, items)
		}
		if reply, err := b.Describe(t.Context(), at); err != nil || !reflect.DeepEqual(reply.Credential, items[0]) {
			accepted++
			t.Errorf("%s: describe: %+v, %v", name, reply, err)
		}
	}
	t.Logf("mutations=%d accepted=%d, %d of them not tried with list", len(mutations), accepted, len(unlisted))
}

// Records sealed by an earlier release can be read and listed, become format 2
// when they are sealed again, and are refused if format 2 is required.
func TestFormat1(t *testing.T) {
	s, ring, at := memory.New(), keyring(t), target("org:acme", "db")
	b := newBed(t, s, nil, func(c *manager.Config) { c.Keyring = ring })
	strict := newBed(t, s, nil, func(c *manager.Config) { c.Keyring, c.RequireFormat = ring, 2 })
	b.storeItem(t, subjects.StoreItem{Target: at, Data: subjects.Value([]byte("x")), Metadata: sealedMetadata})
	put(t, s, format1(t, ring, raw(t, s, at)))

	if got := b.value(t, subjects.RetrieveItem{Target: at, Fresh: true}); got != "x" {
		t.Errorf("read %q", got)
	}
	if items := b.listed(t, &subjects.ListRequest{Scope: "org:acme"}); len(items) != 1 || items[0].Damaged != "" || items[0].Tags["env"] != "prod" {
		t.Errorf("listed %+v", items)
	}
	if _, err := strict.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, subjects.Revision{}); told(err) != subjects.DecryptFailed {
		t.Errorf("format 2 is required: %v", err)
	}
	if items := strict.listed(t, &subjects.ListRequest{Scope: "org:acme"}); len(items) != 1 || items[0].Damaged == "" {
		t.Errorf("format 2 is required: listed %+v", items)
	}
	for _, want := range []subjects.ResealReply{{Resealed: 1}, {Current: 1}} { // by the same primary
		reply, err := b.ResealPage(t.Context(), &subjects.ResealRequest{Scope: "org:acme"})
		if err != nil || reply.Resealed != want.Resealed || reply.Current != want.Current {
			t.Fatalf("%+v, %v", reply, err)
		}
	}
	if got := strict.value(t, subjects.RetrieveItem{Target: at, Fresh: true}); got != "x" {
		t.Errorf("sealed again, it reads as %q", got)
	}
}

// The cost of proofs in a list: compare with a list of the bare store.
func BenchmarkListProven(b *testing.B) {
	s, ring := memory.New(), keyring(b)
	bed := newBed(b, s, nil, func(c *manager.Config) { c.Keyring = ring })
	const records = 1000
	for i := range records {
		bed.storeItem(b, subjects.StoreItem{Target: target("org:acme", fmt.Sprint("k", i)), Data: subjects.Value([]byte("x")), Metadata: sealedMetadata})
	}
	options := store.ListOptions{Scope: "org:acme", Limit: records}
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.List(b.Context(), options); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("proven", func(b *testing.B) {
		for b.Loop() {
			if _, err := bed.Verified(s).List(b.Context(), options); err != nil {
				b.Fatal(err)
			}
		}
	})
}

var _ manager.Keyring = (*seal.Live)(nil)
