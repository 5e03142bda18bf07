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

// Harness gives the suite the stores to test.
type Harness struct {
	// Open returns an empty store that shares nothing with earlier ones. The
	// suite closes it.
	Open func(t *testing.T) store.Store
	// OnePlace means that there is only one place, which Open empties, so that
	// all stores are the same.
	OnePlace bool

	// Damage makes the stored record of key unreadable without the store's
	// knowledge. Nil if the backend would notice.
	Damage func(t *testing.T, s store.Store, key subjects.Target)

	// Plant writes value as the credential of key, like a program without the
	// keyring: in native form if there is one, with the description "planted"
	// if that form has one. Nil if no other program can write to the backend.
	Plant func(t *testing.T, s store.Store, key subjects.Target, value string)

	// Other opens one more store over the backend of s, like another process.
	// The harness closes it. Nil if stores cannot share a backend.
	Other func(t *testing.T, s store.Store) store.Store

	// Fill leaves the backend of s no room for a record of 64 KiB. Nil if that
	// is not possible, and for a Native store.
	Fill func(t *testing.T, s store.Store) (makeRoom func())

	// Replace replaces the place of s by another, empty one, like a lost mount.
	// back undoes it; it is nil if that is not possible. Nil if a place cannot
	// be replaced.
	Replace func(t *testing.T, s store.Store) (back func())

	// Behind opens two stores over an empty backend. At least sometimes, reader
	// shows an old state, like a standby that is behind. After catchUp it knows
	// all writes until then. The harness closes both. Nil if no read is ever
	// behind an acknowledged write.
	Behind func(t *testing.T) (writer, reader store.Store, catchUp func())

	Features Features
}

// Features says where a backend differs. The zero Features stands for a store
// that keeps the whole contract.
type Features struct {
	// RacyPreconditions means that the backend has no conditional write, so
	// several concurrent writers may succeed.
	RacyPreconditions bool
	// Unordered means that List has the backend's own order.
	Unordered bool
	// Managed means that the store sets some fields itself, like the cached
	// manager: Created and Modified are from its own clock, and it shows no
	// write ids or revisions.
	Managed bool
	// Native means that the store is a store.Native and wants every record with
	// Data instead of Payload. The suite gives it such records.
	Native bool
	// TextValues means that several native values must each be UTF-8; others
	// are refused. A single value may be any bytes.
	TextValues bool
	// MaxPayload is the largest payload in bytes; 0 means 128 KiB. For a Native
	// store it is the size of Data, including names, and 0 means
	// subjects.MaxDataLen.
	MaxPayload int
	// RefusesMore means that anything larger than MaxPayload is refused. Other
	// stores may keep it whole.
	RefusesMore bool
	// MaxMetadata is how many bytes of description and tags, keys and values,
	// the store must keep with a record; 0 means all that package subjects
	// allows. It keeps more whole or refuses it.
	MaxMetadata int
	// WalkRecords is how many credentials the walk under churn visits; 0 means
	// 2500. Set it for backends with slow writes.
	WalkRecords int
}

// Limits of the suite itself: no question may hang.
const (
	questionTimeout   = 2 * time.Minute
	defaultMaxPayload = 128 << 10
	defaultWalk       = 2500
)

// Run asks every question, each with its own store.
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
		{"CloseWithoutTime", askCloseWithoutTime},
		{"CloseWhileACallHangs", askCloseWhileACallHangs},
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
		{"GetMulti", askGetMulti},
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
			defer s.close()
			if native := store.IsNative(s.Store, "org:acme"); native != h.Features.Native {
				t.Fatalf("the store says native %t, its Features say %t", native, h.Features.Native)
			}
			question.ask(s)
		})
	}
}

// subject is the store of a question. Its methods fail the test if those of the
// store return an error.
type subject struct {
	*testing.T
	store.Store
	Harness
	ctx context.Context
}

// close ends a question.
func (s *subject) close() {
	if err := s.Close(s.ctx); err != nil {
		s.Errorf("Close at the end: %v", err)
	}
}

func (s *subject) put(rec *store.Record, pre store.Precondition) (version string) {
	s.Helper()
	version, err := s.Put(s.ctx, rec, pre)
	if err != nil {
		s.Fatalf("Put %v: %v", shorten(rec.Target), err)
	}
	if version == "" {
		s.Fatalf("Put %v returned no version", shorten(rec.Target))
	}
	return version
}

func (s *subject) get(key subjects.Target) *store.Record {
	s.Helper()
	rec, err := s.Get(s.ctx, key)
	if err != nil {
		s.Fatalf("Get %v: %v", shorten(key), err)
	}
	return rec
}

func (s *subject) remove(key subjects.Target) {
	s.Helper()
	if err := s.Delete(s.ctx, key, store.Precondition{}); err != nil {
		s.Fatalf("Delete %v: %v", shorten(key), err)
	}
}

// missing fails unless key is in neither Get nor List.
func (s *subject) missing(key subjects.Target) {
	s.Helper()
	if rec, err := s.Get(s.ctx, key); !errors.Is(err, store.ErrNotFound) || rec != nil {
		s.Errorf("Get of the missing %v = %v, %v; want ErrNotFound", shorten(key), rec, err)
	}
	for _, rec := range s.walk(key.Scope, 100) {
		if rec.Target == key {
			s.Errorf("List shows the missing %v", shorten(key))
		}
	}
}

// holds fails unless the stored record equals want, at version.
func (s *subject) holds(want *store.Record, version string) {
	s.Helper()
	got := s.get(want.Target)
	if diff := diffValues(got, want); diff != "" {
		s.Errorf("%v: %s", shorten(want.Target), diff)
	}
	s.same(got, want, version)
	if got.Damaged != "" {
		s.Errorf("%v: Get set Damaged to %q", shorten(want.Target), got.Damaged)
	}
}

// same fails unless got equals want in all but its payload, at version.
func (s *subject) same(got, want *store.Record, version string) {
	s.Helper()
	if s.Features.Managed {
		managed := *want
		managed.WriteID, managed.Created, managed.Modified = got.WriteID, got.Created, got.Modified
		managed.Revision, managed.Proof = got.Revision, got.Proof
		want = &managed
	}
	if got.Target != want.Target || got.WriteID != want.WriteID || got.Version != version {
		s.Errorf("got %v write %q version %q, want %v write %q version %q",
			shorten(got.Target), got.WriteID, got.Version, shorten(want.Target), want.WriteID, version)
	}
	if got.Revision != want.Revision {
		s.Errorf("%v: revision is %v, want %v", shorten(want.Target), got.Revision, want.Revision)
	}
	if !bytes.Equal(got.Proof, want.Proof) {
		s.Errorf("%v: the proof has %d bytes, not the %d of Put", shorten(want.Target), len(got.Proof), len(want.Proof))
	}
	if diff := diffMetadata(got.Metadata, want.Metadata); diff != "" {
		s.Errorf("%v: %s", shorten(want.Target), diff)
	}
}

// walk lists all pages of a scope.
func (s *subject) walk(scope subjects.Scope, limit int) []store.Record {
	s.Helper()
	return s.walkAnd(scope, limit, func() {})
}

// walkAnd is walk with a call after each page but the last.
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
				s.Errorf("List shows the values of %v", shorten(page.Records[i].Target))
			}
		}
		all = append(all, page.Records...)
		if page.Next == "" {
			return all
		}
		if page.Next == opts.After {
			s.Fatalf("List %q returned its own cursor %q", scope, opts.After)
		}
		opts.After = page.Next
		between()
	}
}

var epoch = time.UnixMilli(1_700_000_000_123).UTC()

// record makes a record with a fresh write id and fresh values.
func (s *subject) record(key subjects.Target) *store.Record {
	rec := &store.Record{
		Target:   key,
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

// setContent makes content the whole content of rec. It does not copy it.
func (s *subject) setContent(rec *store.Record, content []byte) {
	if s.Features.Native {
		rec.Data = subjects.Value(content)
	} else {
		rec.Payload = content
	}
}

// contentOf returns the content that setContent put into a record.
func (s *subject) contentOf(rec *store.Record) []byte {
	if s.Features.Native {
		return rec.Data[subjects.ValueName].Bytes()
	}
	return rec.Payload
}

// maxContent returns the size of the largest content that a store must hold, in
// bytes.
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

// diffValues compares payloads and data without showing them.
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

func keyOf(scope, id string) subjects.Target {
	return subjects.Target{Scope: subjects.Scope(scope), ID: subjects.ID(id)}
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
func shorten(key subjects.Target) string {
	const most = 80
	if s := key.String(); len(s) > most {
		return fmt.Sprintf("%s...%s (%d characters)", s[:most/2], s[len(s)-most/4:], len(s))
	}
	return key.String()
}
