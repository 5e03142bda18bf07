package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// Harness tells the suite how to reach the stores it asks.
type Harness struct {
	// Open returns an empty store that shares nothing with those opened
	// before. The suite closes it.
	Open func(t *testing.T) store.Store
	// OnePlace: Open empties the one place that there is, so that all stores are one.
	OnePlace bool

	// Damage makes the stored record of key unreadable, behind the store's
	// back. Nil where records cannot be damaged without the backend's knowing.
	Damage func(t *testing.T, s store.Store, key store.Key)

	// Plant makes value the credential of key as a program does that has no keyring: in
	// the provider's own form where there is one, with a description "planted" where
	// that has one. Nil where no other program can write to the backend.
	Plant func(t *testing.T, s store.Store, key store.Key, value string)

	// Other opens one more store over the backend of s, as another process
	// would. The harness closes it. Nil where there is no sharing.
	Other func(t *testing.T, s store.Store) store.Store

	// Fill leaves the backend of s no room for a record of 64 KiB. Nil where that
	// cannot be done, and for a Native store.
	Fill func(t *testing.T, s store.Store) (makeRoom func())

	// Replace puts another, empty place where that of s was, as a mount that is gone
	// does. back undoes it; nil where it cannot be undone. Nil where there is no such
	// thing.
	Replace func(t *testing.T, s store.Store) (back func())

	// Behind opens two stores over an empty backend: what reader reads is what was there
	// before, as a standby that is behind answers, at least sometimes. Since catchUp it
	// knows all that was written until then. The harness closes both. Nil where no read
	// is behind a write that was acknowledged.
	Behind func(t *testing.T) (writer, reader store.Store, catchUp func())

	Features Features
}

// Features says where a backend honestly differs. The zero Features is a store
// that keeps the whole contract.
type Features struct {
	// RacyPreconditions: the backend has no conditional write, so that of
	// several writers at once more than one may succeed.
	RacyPreconditions bool
	// Unordered: List has the backend's own order.
	Unordered bool
	// Managed: the store is one that answers for itself, as the cached manager
	// does: Created and Modified are of its own clock, and write ids and
	// revisions are not shown.
	Managed bool
	// Native: the store is a store.Native that wants every record with Data in
	// place of Payload. The suite gives it such records.
	Native bool
	// TextValues: of several native values each must be UTF-8; others are refused.
	// A single one may be any bytes.
	TextValues bool
	// MaxPayload is the largest payload in bytes; 0 means 128 KiB. Of a Native
	// store it is the size of Data, names included, and 0 means
	// subjects.MaxDataLen.
	MaxPayload int
	// RefusesMore: anything larger than MaxPayload is refused. Other stores
	// may keep it, to its last byte.
	RefusesMore bool
	// MaxMetadata is how many bytes of description and tags, keys and values, the
	// store surely keeps with a record; 0 means all that package subjects allows.
	// More is kept whole or refused.
	MaxMetadata int
	// WalkRecords is how many credentials the walk under churn passes over;
	// 0 means 2500. For backends where each write is slow.
	WalkRecords int
}

// Limits of the suite itself: no question may hang.
const (
	questionTimeout   = 2 * time.Minute
	defaultMaxPayload = 128 << 10
	defaultWalk       = 2500
)

// Run asks every question, each of a store of its own.
func Run(t *testing.T, h Harness) {
	t.Helper()
	features, err := json.Marshal(h.Features)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("storetest: features %s", features) // for internal/storereport
	for _, question := range []struct {
		name string
		ask  func(*subject)
	}{
		{"Basics", askBasics},
		{"Metadata", askMetadata},
		{"Revisions", askRevisions},
		{"MetadataLimits", askMetadataLimits},
		{"Payloads", askPayloads},
		{"Lookalikes", askLookalikes},
		{"NamedValues", askNamedValues},
		{"HostileNames", askHostileNames},
		{"NearNames", askNearNames},
		{"Preconditions", askPreconditions},
		{"Versions", askVersions},
		{"RepeatedWriteID", askRepeatedWriteID},
		{"EndedContext", askEndedContext},
		{"Ownership", askOwnership},
		{"Close", askClose},
		{"Damage", askDamage},
		{"RacingReplacers", askRacingReplacers},
		{"RacingCreators", askRacingCreators},
		{"RacingDeleters", askRacingDeleters},
		{"RacingRetries", askRacingRetries},
		{"ReadersSeeWholeRecords", askReaders},
		{"ListOrder", askListOrder},
		{"ListScopes", askListScopes},
		{"ListPages", askListPages},
		{"ListCursors", askListCursors},
		{"ListUnderChurn", askListUnderChurn},
		{"ChangedElsewhere", askChangedElsewhere},
		{"RacingElsewhere", askRacingElsewhere},
		{"ClosedElsewhere", askClosedElsewhere},
		{"Batch", askBatch},
		{"Watch", askWatch},
		{"Full", askFull},
		{"Replaced", askReplaced},
		{"Identity", askIdentity},
		{"Foreign", askForeign},
		{"Behind", askBehind},
	} {
		t.Run(question.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), questionTimeout)
			defer cancel()
			s := &subject{T: t, Store: h.Open(t), Harness: h, ctx: ctx}
			defer s.Close()
			if native := store.IsNative(s.Store, "org:acme"); native != h.Features.Native {
				t.Fatalf("the store says of itself that it is native: %t, its Features say %t", native, h.Features.Native)
			}
			question.ask(s)
		})
	}
}

// subject is the store that a question is asked of. Its methods fail the test
// where the store's own would return an error.
type subject struct {
	*testing.T
	store.Store
	Harness
	ctx context.Context
}

func (s *subject) put(rec *store.Record, pre store.Precondition) (version string) {
	s.Helper()
	version, err := s.Put(s.ctx, rec, pre)
	if err != nil {
		s.Fatalf("Put %v: %v", shorten(rec.Key), err)
	}
	if version == "" {
		s.Fatalf("Put %v returned no version", shorten(rec.Key))
	}
	return version
}

func (s *subject) get(key store.Key) *store.Record {
	s.Helper()
	rec, err := s.Get(s.ctx, key)
	if err != nil {
		s.Fatalf("Get %v: %v", shorten(key), err)
	}
	return rec
}

func (s *subject) remove(key store.Key) {
	s.Helper()
	if err := s.Delete(s.ctx, key, store.Precondition{}); err != nil {
		s.Fatalf("Delete %v: %v", shorten(key), err)
	}
}

// missing fails unless key is in neither Get nor List.
func (s *subject) missing(key store.Key) {
	s.Helper()
	if rec, err := s.Get(s.ctx, key); !errors.Is(err, store.ErrNotFound) || rec != nil {
		s.Errorf("Get of the missing %v = %v, %v; want ErrNotFound", shorten(key), rec, err)
	}
	for _, rec := range s.walk(key.Scope, 100) {
		if rec.Key == key {
			s.Errorf("List shows the missing %v", shorten(key))
		}
	}
}

// holds fails unless the stored record is want, at version.
func (s *subject) holds(want *store.Record, version string) {
	s.Helper()
	got := s.get(want.Key)
	if diff := diffValues(got, want); diff != "" {
		s.Errorf("%v: %s", shorten(want.Key), diff)
	}
	s.same(got, want, version)
	if got.Damaged != "" {
		s.Errorf("%v: Get set Damaged to %q", shorten(want.Key), got.Damaged)
	}
}

// same fails unless got is want in all but its payload, at version.
func (s *subject) same(got, want *store.Record, version string) {
	s.Helper()
	if s.Features.Managed {
		managed := *want
		managed.WriteID, managed.Created, managed.Modified = got.WriteID, got.Created, got.Modified
		managed.Revision, managed.Proof = got.Revision, got.Proof
		want = &managed
	}
	if got.Key != want.Key || got.WriteID != want.WriteID || got.Version != version {
		s.Errorf("got %v write %q version %q, want %v write %q version %q",
			shorten(got.Key), got.WriteID, got.Version, shorten(want.Key), want.WriteID, version)
	}
	if got.Revision != want.Revision {
		s.Errorf("%v: revision is %v, want %v", shorten(want.Key), got.Revision, want.Revision)
	}
	if !bytes.Equal(got.Proof, want.Proof) {
		s.Errorf("%v: the proof has %d bytes, not the %d that were put", shorten(want.Key), len(got.Proof), len(want.Proof))
	}
	if diff := diffMetadata(got.Metadata, want.Metadata); diff != "" {
		s.Errorf("%v: %s", shorten(want.Key), diff)
	}
}

// walk lists all pages of a scope.
func (s *subject) walk(scope subjects.Scope, limit int) []store.Record {
	s.Helper()
	return s.walkAnd(scope, limit, func() {})
}

// walkAnd is walk with something that happens after each page but the last.
func (s *subject) walkAnd(scope subjects.Scope, limit int, between func()) []store.Record {
	s.Helper()
	var all []store.Record
	opts := store.ListOptions{Scope: scope, Limit: limit}
	for {
		page, err := s.List(s.ctx, opts)
		if err != nil {
			s.Fatalf("List %q after %q: %v", scope, opts.After, err)
		}
		if len(page.Records) > limit {
			s.Fatalf("List %q with limit %d returned %d records", scope, limit, len(page.Records))
		}
		for i := range page.Records {
			if page.Records[i].Payload != nil || page.Records[i].Data != nil {
				s.Errorf("List shows the values of %v", shorten(page.Records[i].Key))
			}
		}
		all = append(all, page.Records...)
		if page.Next == "" {
			return all
		}
		if page.Next == opts.After {
			s.Fatalf("List %q gave out the cursor %q that it was given", scope, opts.After)
		}
		opts.After = page.Next
		between()
	}
}

var epoch = time.UnixMilli(1_700_000_000_123).UTC()

// record makes a record with a fresh write id and fresh values.
func (s *subject) record(key store.Key) *store.Record {
	rec := &store.Record{
		Key:      key,
		WriteID:  rand.Text(),
		Metadata: subjects.Metadata{Created: epoch, Modified: epoch},
	}
	if s.Features.Native {
		rec.Data = subjects.Data{
			"username": subjects.NewSecret([]byte("user " + rand.Text())),
			"PassWord": subjects.NewSecret([]byte(rand.Text())),
		}
	} else {
		rec.Payload, rec.Proof = []byte("sealed "+rand.Text()), []byte("proven "+rand.Text())
	}
	return rec
}

// setContent makes content all that rec holds. It does not copy it.
func (s *subject) setContent(rec *store.Record, content []byte) {
	if s.Features.Native {
		rec.Data = subjects.Value(content)
	} else {
		rec.Payload = content
	}
}

// contentOf is what setContent put into a record.
func (s *subject) contentOf(rec *store.Record) []byte {
	if s.Features.Native {
		return rec.Data[subjects.ValueName].Bytes()
	}
	return rec.Payload
}

// maxContent is the largest content that a store must hold, in bytes.
func (s *subject) maxContent() int {
	most := s.Features.MaxPayload
	switch {
	case s.Features.Native && most == 0:
		return subjects.MaxDataLen
	case s.Features.Native:
		return most - len(subjects.ValueName)
	case most == 0:
		return defaultMaxPayload
	}
	return most
}

// diffValues compares payloads and data, and shows neither.
func diffValues(got, want *store.Record) string {
	if !bytes.Equal(got.Payload, want.Payload) {
		return fmt.Sprintf("payload of %d bytes differs from the %d bytes put", len(got.Payload), len(want.Payload))
	}
	if len(got.Data) != len(want.Data) {
		return fmt.Sprintf("data has %d names, want %d", len(got.Data), len(want.Data))
	}
	for name, value := range want.Data {
		same, ok := got.Data[name]
		if !ok {
			return fmt.Sprintf("data has no %.40q", name)
		}
		if !bytes.Equal(same.Bytes(), value.Bytes()) {
			return fmt.Sprintf("the value %.40q of %d bytes differs from the %d bytes put", name, same.Len(), value.Len())
		}
	}
	return ""
}

func keyOf(scope, id string) store.Key {
	return store.Key{Scope: subjects.Scope(scope), ID: subjects.ID(id)}
}

func diffMetadata(got, want subjects.Metadata) string {
	for _, field := range []struct {
		name      string
		got, want time.Time
	}{
		{"created", got.Created, want.Created},
		{"modified", got.Modified, want.Modified},
		{"expires", got.Expires, want.Expires},
	} {
		if !field.got.Equal(field.want) || field.got.Location() != time.UTC {
			return fmt.Sprintf("%s is %v, want %v", field.name, field.got, field.want)
		}
	}
	switch {
	case got.Description != want.Description:
		return fmt.Sprintf("description of %d bytes is %.100q, want %d bytes %.100q", len(got.Description), got.Description, len(want.Description), want.Description)
	case !maps.Equal(got.Tags, want.Tags):
		const most = 300
		return fmt.Sprintf("%d tags %.*s, want %d %.*s", len(got.Tags), most, fmt.Sprintf("%q", got.Tags), len(want.Tags), most, fmt.Sprintf("%q", want.Tags))
	case got.RotationDays != want.RotationDays:
		return fmt.Sprintf("rotation days are %d, want %d", got.RotationDays, want.RotationDays)
	case got.Inheritable != want.Inheritable:
		return fmt.Sprintf("inheritable is %t, want %t", got.Inheritable, want.Inheritable)
	}
	return ""
}

// shorten keeps a failure with a 512-character scope readable.
func shorten(key store.Key) string {
	const most = 80
	if s := key.String(); len(s) > most {
		return fmt.Sprintf("%s...%s (%d characters)", s[:most/2], s[len(s)-most/4:], len(s))
	}
	return key.String()
}
