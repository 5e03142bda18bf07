package manager_test

import (
	"bytes"
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// Describe must show the same as List, on every worker as of the last write,
// and no values.
func TestDescribe(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) store.Store{
		"native": func(*testing.T) store.Store { return native{memory.New()} },
		"file": func(t *testing.T) store.Store {
			s, err := file.New(file.Config{Dir: filepath.Join(t.TempDir(), "store")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close(context.Background()) })
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, log, ring := open(t), coherencetest.NewLog(), keyring(t)
			same := func(c *manager.Config) { c.Keyring = ring }
			writer, b := newBed(t, s, log, same), newBed(t, s, log, same)
			at := target("org:acme", "db")
			missing := func(least subjects.Revision) {
				t.Helper()
				_, err := b.Describe(t.Context(), at)
				if failure, _ := manager.Explain(err, at); failure.Code != subjects.NotFound || failure.Revision.Compare(least) < 0 {
					t.Fatalf("a missing credential: %v, as of %v, want %v", err, failure.Revision, least)
				}
			}
			missing(subjects.Revision{})

			for _, value := range []string{"canary-1", "canary-2"} {
				// The reader has the old state in its cache, and nobody waits
				// until it applies the write.
				_, _ = b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, subjects.Revision{})
				metadata := sealedMetadata
				metadata.Description, metadata.Inheritable = "before "+value[len("canary-"):], true
				stored, err := writer.Store(t.Context(), &subjects.StoreItem{Target: at, Data: subjects.Value([]byte(value)), Metadata: metadata}, "")
				if err != nil {
					t.Fatal(err)
				}
				reply, err := b.Describe(t.Context(), at)
				if err != nil {
					t.Fatal(err)
				}
				if reply.Version != stored.Version || reply.Revision.Compare(subjects.Revision{}) == 0 || reply.Created.IsZero() || reply.Modified.IsZero() {
					t.Errorf("got %+v, want version %s with times and a revision", reply, stored.Version)
				}
				metadata.Created, metadata.Modified = reply.Created, reply.Modified
				if !reflect.DeepEqual(reply.Metadata, metadata) {
					t.Errorf("got %+v, want %+v", reply.Metadata, metadata)
				}
				if items := b.listed(t, &subjects.ListRequest{Scope: at.Scope}); len(items) != 1 || !reflect.DeepEqual(items[0], reply.Credential) {
					t.Errorf("described as %+v, listed as %+v", reply.Credential, items)
				}
				if body := subjects.Append(nil, reply); reply.Data != nil || bytes.Contains(body, []byte("canary")) || bytes.Contains(body, []byte("data")) {
					t.Errorf("the reply has values: %q", body)
				}
			}

			deleted, err := writer.Delete(t.Context(), subjects.DeleteItem{Target: at})
			if err != nil {
				t.Fatal(err)
			}
			missing(deleted.Revision)
		})
	}
}

// Describe must show an unreadable record as damaged, like List.
func TestDescribeDamaged(t *testing.T) {
	s, ring, at := memory.New(), keyring(t), target("org:acme", "db")
	b := newBed(t, s, nil, func(c *manager.Config) { c.Keyring = ring })
	strict := newBed(t, s, nil, func(c *manager.Config) { c.Keyring, c.RequireFormat = ring, 2 })
	b.storeItem(t, subjects.StoreItem{Target: at, Data: subjects.Value([]byte("canary")), Metadata: sealedMetadata})
	as := func(what string, b *bed, damaged bool) {
		t.Helper()
		reply, err := b.Describe(t.Context(), at)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		items := b.listed(t, &subjects.ListRequest{Scope: at.Scope})
		if (reply.Damaged != "") != damaged || len(items) != 1 || !reflect.DeepEqual(items[0], reply.Credential) {
			t.Errorf("%s: described as %+v, listed as %+v", what, reply.Credential, items)
		}
	}
	as("format 2", b, false)
	put(t, s, format1(t, ring, raw(t, s, at)))
	as("format 1", b, false)
	as("format 1 where 2 is required", strict, true)
	record := raw(t, s, at)
	record.Payload[len(record.Payload)-1] ^= 1
	put(t, s, record)
	as("format 1, changed", b, true)
}

func TestDescribeNamesACredential(t *testing.T) {
	b := newBed(t, memory.New(), nil, nil)
	for _, at := range []subjects.Target{target("org:acme", ""), target("", "db")} {
		if _, err := b.Describe(t.Context(), at); told(err) != subjects.InvalidArgument {
			t.Errorf("%q: %v", at, err)
		}
	}
}
