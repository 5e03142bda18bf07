package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
	"credbus/internal/store/vault"
	"credbus/subjects"
)

// native opens a store in native form, and returns the path at which another program
// finds org:acme/key.
func (b *bed) native(t *testing.T) (s *vault.Store, config vault.Config, path string) {
	t.Helper()
	config = b.config(t)
	config.Native = true
	return open(t, config), config, config.Path + "/org:acme/key"
}

// put writes a secret like any other program, and returns its version.
func (b *bed) put(t testing.TB, path string, data map[string]any) int {
	t.Helper()
	written, err := b.kv().Put(context.Background(), path, data)
	must(t, err)
	return written.VersionMetadata.Version
}

func get(t testing.TB, s store.Store, key subjects.Target) *store.Record {
	t.Helper()
	rec, err := s.Get(context.Background(), key)
	must(t, err)
	return rec
}

// holds fails unless a record has the given values.
func holds(t testing.TB, rec *store.Record, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	for name, value := range rec.Data {
		got[name] = string(value.Bytes())
	}
	if !maps.Equal(got, want) {
		t.Errorf("the record holds %q, want %q", got, want)
	}
}

// Other programs find values as entries of a secret.
func TestNativeIsRead(t *testing.T) {
	b := sharedBed(t)
	s, _, path := b.native(t)
	rec := newNative("org:acme", "key", "w1")
	rec.Data = subjects.Data{
		"username": subjects.NewSecret([]byte("app")),
		"key.pem":  subjects.NewSecret([]byte("-----BEGIN\n\"quoted\" \\ schlüssel\x01")),
		"keytab":   subjects.NewSecret([]byte{0xff, 0x00, 0x01}),
	}
	rec.Metadata = subjects.Metadata{
		Description: "of the billing service", Tags: map[string]string{"env": "prod"}, RotationDays: 30,
		Expires: time.UnixMilli(1_900_000_000_000).UTC(),
	}
	rec.Revision = subjects.Revision{Stream: 0x18, Seq: 42}
	put(t, s, rec)
	found, err := b.kv().Get(t.Context(), path)
	must(t, err)
	noted, ok := found.Data["credbus:record"].(string)
	if !ok {
		t.Fatalf("the entries are %q", slices.Sorted(maps.Keys(found.Data)))
	}
	delete(found.Data, "credbus:record")
	want := map[string]any{"username": "app", "key.pem": "-----BEGIN\n\"quoted\" \\ schlüssel\x01", "keytab": "/wAB"}
	if !maps.Equal(found.Data, want) {
		t.Errorf("another program reads %q, want %q", found.Data, want)
	}
	var note map[string]any
	must(t, json.Unmarshal([]byte(noted), &note))
	if note["version"] != 1.0 || note["write_id"] != "w1" || note["revision"] != "18-42" || note["description"] != "of the billing service" ||
		note["expires"] != "2030-03-17T17:46:40Z" || note["base64"].([]any)[0] != "keytab" {
		t.Errorf("the entry credbus:record is %s", noted)
	}
}

// The store reads a secret of another program, with all its entries.
func TestForeignIsRead(t *testing.T) {
	b := sharedBed(t)
	s, _, path := b.native(t)
	rec := newNative("org:acme", "key", "w1")
	rec.Tags = map[string]string{"env": "prod"}
	before := time.Now().Add(-time.Minute)
	b.put(t, path, map[string]any{
		"username": "app", "port": 5432, "ratio": 1.5, "tls": true, "none": nil, "empty": "",
		"nested": map[string]any{"a": []string{"b"}},
	})
	must(t, b.kv().PutMetadata(t.Context(), path, api.KVMetadataPutInput{CustomMetadata: map[string]any{"team": "payments"}}))
	got := get(t, s, rec.Target)
	holds(t, got, map[string]string{
		"username": "app", "port": "5432", "ratio": "1.5", "tls": "true", "none": "null", "empty": "", "nested": `{"a":["b"]}`,
	})
	if got.WriteID != "" || !got.Revision.IsZero() || !maps.Equal(got.Tags, map[string]string{"team": "payments"}) ||
		got.Modified.Before(before) || !got.Created.Equal(got.Modified) || got.Modified.Location() != time.UTC {
		t.Errorf("read as %+v", got)
	}

	// Later writes treat it like any other record. It has no write id.
	if _, err := s.Put(t.Context(), newNative("org:acme", "key", ""), store.Precondition{}); !errors.Is(err, subjects.ErrInvalid) {
		t.Errorf("a write without an id: %v", err)
	}
	if _, err := s.Put(t.Context(), rec, store.Precondition{Absent: true}); !errors.Is(err, store.ErrExists) {
		t.Errorf("creating it again: %v", err)
	}
	version, err := s.Put(t.Context(), rec, store.Precondition{Version: got.Version})
	must(t, err)
	if now := get(t, s, rec.Target); now.Version != version || now.WriteID != "w1" || !now.Created.Equal(got.Created) || !maps.Equal(now.Tags, rec.Tags) {
		t.Errorf("after a write: %+v", now)
	}

	// vault kv put removes all earlier entries.
	b.put(t, path, map[string]any{"value": "from outside"})
	now := get(t, s, rec.Target)
	if holds(t, now, map[string]string{"value": "from outside"}); now.WriteID != "" || now.Version == version || len(now.Tags) != 1 {
		t.Errorf("after vault kv put: %+v", now)
	}
	if _, err := s.Put(t.Context(), newNative("org:acme", "key", "w2"), store.Precondition{Version: version}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a write at the version before vault kv put: %v", err)
	}
	page, err := s.List(t.Context(), store.ListOptions{Limit: 10})
	if err != nil || len(page.Records) != 1 || page.Records[0].Version != now.Version || page.Records[0].Data != nil {
		t.Errorf("List: %+v, %v", page, err)
	}
}

// vault kv patch keeps the entry of credbus beside the values. The entry names another
// version, so it does not say who wrote the values.
func TestPatchedIsForeign(t *testing.T) {
	b := sharedBed(t)
	s, _, path := b.native(t)
	rec := newNative("org:acme", "key", "w1")
	rec.Data["binary"] = subjects.NewSecret([]byte{0xff})
	rec.Description, rec.Created = "stays", time.UnixMilli(1_700_000_000_000).UTC()
	first := put(t, s, rec)
	patch := func(data map[string]any) *store.Record {
		t.Helper()
		_, err := b.kv().Patch(t.Context(), path, data)
		must(t, err)
		return get(t, s, rec.Target)
	}
	got := patch(map[string]any{"more": "from outside"})
	holds(t, got, map[string]string{"value": "s3cret of w1", "binary": "\xff", "more": "from outside"})
	if got.WriteID != "" || got.Version == first || got.Description != "stays" || !got.Created.Equal(rec.Created) || !got.Modified.After(rec.Created) {
		t.Errorf("after vault kv patch: %+v", got)
	}
	holds(t, patch(map[string]any{"binary": "not base64!"}), map[string]string{"value": "s3cret of w1", "binary": "not base64!", "more": "from outside"})

	// The patched write is gone, so its repetition takes effect.
	again := put(t, s, rec)
	if got := get(t, s, rec.Target); again == first || got.WriteID != "w1" || len(got.Data) != 2 {
		t.Errorf("the repeated write: %+v", got)
	}
	// A version that an operator brings back has no write id either.
	_, err := b.kv().Rollback(t.Context(), path, 1)
	must(t, err)
	got = get(t, s, rec.Target)
	if holds(t, got, map[string]string{"value": "s3cret of w1", "binary": "\xff"}); got.WriteID != "" || got.Version == again || got.Version == first {
		t.Errorf("after vault kv rollback: %+v", got)
	}
}

// vault kv delete can be undone. Meanwhile the credential is absent.
func TestSoftDeleted(t *testing.T) {
	b := sharedBed(t)
	s, _, path := b.native(t)
	rec := newNative("org:acme", "key", "w1")
	version := put(t, s, rec)
	must(t, b.kv().Delete(t.Context(), path))
	if _, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	if page, err := s.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 0 {
		t.Errorf("List: %+v, %v", page, err)
	}
	must(t, b.kv().Undelete(t.Context(), path, []int{1}))
	if got := get(t, s, rec.Target); got.Version != version || got.WriteID != "w1" {
		t.Errorf("after vault kv undelete: %+v", got)
	}
	for _, remove := range []func() error{
		func() error { return b.kv().Delete(t.Context(), path) },
		func() error { return b.kv().Destroy(t.Context(), path, []int{2}) },
		func() error { return b.kv().DeleteMetadata(t.Context(), path) },
	} {
		must(t, remove())
		rec.WriteID = unique("w")
		next, err := s.Put(t.Context(), rec, store.Precondition{Absent: true})
		if err != nil || next == version {
			t.Errorf("Put after a removal = %s, %v", next, err)
		}
	}
}

// A secret that cannot be a credential is damaged. The error gives the reason and shows
// no value.
func TestForeignIsRefused(t *testing.T) {
	b := sharedBed(t)
	s, config, path := b.native(t)
	key := newNative("org:acme", "key", "").Target
	for want, data := range map[string]map[string]any{
		`data name "my key"`:    {"my key": "s3cret", "other": "s3cret"},
		`data name "a:b"`:       {"a:b": "s3cret"},
		"data is empty":         {},
		"at most 65536":         {"value": strings.Repeat("s3cret", 20_000)},
		"credbus:record":        {"credbus:record": "s3cret", "value": "s3cret"},
		"credbus:sealed":        {"credbus:sealed": "s3cret!"},
		"not a credbus record":  {"credbus:sealed": strings.Repeat("czNjcmV0", 20)},
		"entry credbus:record ": {"credbus:record": `{"version":99,"rotation_days":"s3cret"}`, "value": "s3cret"},
	} {
		number := b.put(t, path, data)
		_, err := s.Get(t.Context(), key)
		says(t, err, store.ErrDamaged, want, "secret/data/"+path)
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows a value: %v", err)
		}
		page, err := s.List(t.Context(), store.ListOptions{Limit: 10})
		if err != nil || len(page.Records) != 1 || page.Records[0].Damaged == "" || page.Records[0].Target != key {
			t.Errorf("List beside version %d: %+v, %v", number, page, err)
		}
	}
	put(t, s, newNative("org:acme", "key", "w1"))

	// Secrets whose names belong to no credential are ignored.
	for _, name := range []string{"alone", "org:acme/with space", "org:acme/a.b", "other/org:acme/key", "org:acme/x:y", "org:acme/short~/cut", "org:acme/a/b"} {
		b.put(t, config.Path+"/"+name, map[string]any{"value": "not ours"})
	}
	page, err := s.List(t.Context(), store.ListOptions{Limit: 10})
	if err != nil || len(page.Records) != 1 || page.Next != "" {
		t.Errorf("List beside others' secrets: %+v, %v", page, err)
	}
}

// notSealed fails unless a store shows a native record as damaged, everywhere.
func notSealed(t *testing.T, s store.Store, key subjects.Target) {
	t.Helper()
	_, err := s.Get(t.Context(), key)
	says(t, err, store.ErrDamaged, store.NotSealed)
	page, err := s.List(t.Context(), store.ListOptions{Scope: key.Scope, Limit: 10})
	must(t, err)
	for i := range page.Records {
		if rec := &page.Records[i]; rec.Target == key && (!strings.Contains(rec.Damaged, store.NotSealed) || rec.Tags != nil || !rec.Created.IsZero()) {
			t.Errorf("listed as %+v", rec)
		}
	}
}

// A native store reads both forms, because a seal proves itself. A sealed store reads
// only sealed records, because anybody can write a native one.
func TestFormsMix(t *testing.T) {
	b := sharedBed(t)
	native, config, _ := b.native(t)
	config.Native = false
	sealed := open(t, config)
	if native.Native("org:acme") != true || sealed.Native("org:acme") != false {
		t.Error("Native returns the wrong form")
	}
	inClear, inSeal := newNative("org:acme", "clear", "w1"), newRecord("org:acme", "sealed", "w1")
	put(t, native, inClear)
	put(t, sealed, inSeal)
	holds(t, get(t, native, inClear.Target), map[string]string{"value": "s3cret of w1"})
	notSealed(t, sealed, inClear.Target)
	b.put(t, config.Path+"/org:acme/foreign", map[string]any{"value": "of another program"})
	notSealed(t, sealed, newNative("org:acme", "foreign", "").Target)
	for _, s := range []store.Store{native, sealed} {
		if got := get(t, s, inSeal.Target); string(got.Payload) != "sealed by w1" || got.Data != nil {
			t.Errorf("the sealed record: %+v", got)
		}
	}
	inClear.ID, inSeal.ID = inSeal.ID, inClear.ID
	inClear.WriteID, inSeal.WriteID = "w2", "w2"
	put(t, native, inClear)
	put(t, sealed, inSeal)
	notSealed(t, sealed, inClear.Target)
	if got := get(t, native, inClear.Target); got.WriteID != "w2" || len(got.Data) != 1 || got.Payload != nil {
		t.Errorf("after the switch: %+v", got)
	}
	if got := get(t, native, inSeal.Target); got.WriteID != "w2" || got.Data != nil {
		t.Errorf("after the switch back: %+v", got)
	}
	// A record in the place of another is not accepted.
	held, err := b.kv().Get(t.Context(), config.Path+"/org:acme/clear")
	must(t, err)
	b.put(t, config.Path+"/org:acme/moved", held.Data)
	_, err = native.Get(t.Context(), newNative("org:acme", "moved", "").Target)
	says(t, err, store.ErrDamaged, "it holds org:acme/clear, which belongs to another secret")
}
