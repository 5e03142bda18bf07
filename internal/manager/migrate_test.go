package manager_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// inClear is a store in native form.
type inClear struct {
	store.Store
	mu     sync.Mutex
	values map[subjects.Target]subjects.Data
}

func newInClear() *inClear {
	return &inClear{Store: memory.New(), values: make(map[subjects.Target]subjects.Data)}
}

func (s *inClear) Native(subjects.Scope) bool { return true }

func (s *inClear) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if rec.Data == nil || rec.Payload != nil {
		return "", fmt.Errorf("%w: not in clear", subjects.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := *rec
	kept.Data, kept.Payload = nil, []byte("-")
	version, err := s.Store.Put(ctx, &kept, pre)
	if err == nil {
		s.values[rec.Target] = rec.Data.Clone()
	}
	return version, err
}

func (s *inClear) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, err := s.Store.Get(ctx, key)
	if err == nil {
		rec.Payload, rec.Data = nil, s.values[key].Clone()
	}
	return rec, err
}

// migration is a manager over one store, with another to migrate to.
type migration struct {
	*bed
	from, to *storetest.Faults
}

func newMigration(t *testing.T, from, to store.Store) *migration {
	m := &migration{from: storetest.NewFaults(from), to: storetest.NewFaults(to)}
	m.bed = newBed(t, m.from, nil, func(c *manager.Config) {
		c.Stores = map[string]store.Store{"old": m.from, "new": m.to}
		c.Routed = func(subjects.Scope) []string { return []string{"old"} }
	})
	return m
}

// page migrates the first page and fails unless its outcome, without Failed, is
// want.
func (m *migration) page(t *testing.T, request subjects.MigrateRequest, want subjects.MigrateReply) *subjects.MigrateReply {
	t.Helper()
	request.From, request.To = "old", "new"
	got, err := m.MigratePage(t.Context(), &request)
	if err != nil {
		t.Fatal(err)
	}
	counts := *got
	counts.Failed = nil
	if fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("outcome %+v, failed %v; want %+v", counts, got.Failed, want)
	}
	return got
}

// reads retrieves by a manager over the target store.
func (m *migration) after(t *testing.T, at subjects.Target) (*subjects.RetrieveReply, error) {
	t.Helper()
	ring := m.ring
	b := newBed(t, m.to, nil, func(c *manager.Config) { c.Keyring = ring })
	return b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, subjects.Revision{})
}

func TestMigrate(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to func() store.Store
	}{
		{"sealed to sealed", func() store.Store { return memory.New() }, func() store.Store { return memory.New() }},
		{"sealed to native", func() store.Store { return memory.New() }, func() store.Store { return newInClear() }},
		{"native to sealed", func() store.Store { return newInClear() }, func() store.Store { return memory.New() }},
		{"native to native", func() store.Store { return newInClear() }, func() store.Store { return newInClear() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMigration(t, c.from(), c.to())
			at := target("org:acme/team:eng", "db")
			stored := m.storeItem(t, subjects.StoreItem{
				Target: at,
				Data:   subjects.Data{"user": subjects.NewSecret([]byte("app")), "password": subjects.NewSecret([]byte("s3cret"))},
				Metadata: subjects.Metadata{
					Description: "a database", Tags: map[string]string{"env": "prod"}, RotationDays: 30, Inheritable: true,
					Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
				},
			})
			m.store(t, target("org:acme", "other"), "x")
			m.store(t, target("org:else", "not-asked-for"), "x")
			before, err := m.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, stored.Revision)
			if err != nil {
				t.Fatal(err)
			}
			scope := subjects.MigrateRequest{Scope: "org:acme"}
			m.page(t, scope, subjects.MigrateReply{Copied: 2})
			m.page(t, scope, subjects.MigrateReply{Current: 2})
			after, err := m.after(t, at)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(after.Metadata) != fmt.Sprint(before.Metadata) {
				t.Errorf("metadata was %+v, is %+v", before.Metadata, after.Metadata)
			}
			if len(after.Data) != 2 || string(after.Data["user"].Bytes()) != "app" || string(after.Data["password"].Bytes()) != "s3cret" {
				t.Error("the values differ")
			}
			original, err := m.from.Get(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			copied, err := m.to.Get(t.Context(), at)
			if err != nil || copied.Revision != original.Revision || copied.WriteID != original.WriteID {
				t.Errorf("revision %v write %q, want %v %q: %v", copied.Revision, copied.WriteID, original.Revision, original.WriteID, err)
			}
			if _, err := m.to.Get(t.Context(), target("org:else", "not-asked-for")); err == nil {
				t.Error("more was copied than requested")
			}

			// A second migration copies changed credentials.
			m.store(t, at, "changed")
			m.store(t, target("org:acme", "created"), "x")
			m.page(t, scope, subjects.MigrateReply{Copied: 2, Current: 1})
			if after, err = m.after(t, at); err != nil || string(after.Data[subjects.ValueName].Bytes()) != "changed" {
				t.Errorf("the change was not copied: %v", err)
			}
		})
	}
}

// Each page continues where the one before ended.
func TestMigratePages(t *testing.T) {
	m := newMigration(t, memory.New(), memory.New())
	for i := range 25 {
		m.store(t, target("org:acme", fmt.Sprint("c", i)), "x")
	}
	request := subjects.MigrateRequest{From: "old", To: "new", Paging: subjects.Paging{Limit: 10}}
	var copied, pages int64
	for {
		reply, err := m.MigratePage(t.Context(), &request)
		if err != nil || len(reply.Failed) > 0 {
			t.Fatal(err, reply)
		}
		copied += reply.Copied
		pages++
		if request.Cursor = reply.Cursor; request.Cursor == "" {
			break
		}
	}
	if copied != 25 || pages != 3 {
		t.Errorf("%d copied in %d pages", copied, pages)
	}
}

// Pruning deletes copies of deleted credentials, and nothing else.
func TestMigratePrunes(t *testing.T) {
	m := newMigration(t, memory.New(), memory.New())
	gone, kept := target("org:acme", "gone"), target("org:acme", "kept")
	for _, at := range []subjects.Target{gone, kept} {
		m.store(t, at, "x")
	}
	m.page(t, subjects.MigrateRequest{}, subjects.MigrateReply{Copied: 2})
	if _, err := m.Delete(t.Context(), subjects.DeleteItem{Target: gone}); err != nil {
		t.Fatal(err)
	}
	m.page(t, subjects.MigrateRequest{}, subjects.MigrateReply{Current: 1})
	m.page(t, subjects.MigrateRequest{Prune: true}, subjects.MigrateReply{Pruned: 1, Current: 1})
	m.page(t, subjects.MigrateRequest{Prune: true}, subjects.MigrateReply{Current: 1})
	if _, err := m.after(t, kept); err != nil {
		t.Errorf("an existing credential was pruned: %v", err)
	}
	if _, err := m.after(t, gone); told(err) != subjects.NotFound {
		t.Errorf("the copy of a deleted credential still exists: %v", err)
	}
}

// Migration must not undo a write in the target store.
func TestMigrateLeavesWhatIsNewer(t *testing.T) {
	m := newMigration(t, memory.New(), memory.New())
	at := target("org:acme", "db")
	m.store(t, at, "x")
	m.page(t, subjects.MigrateRequest{}, subjects.MigrateReply{Copied: 1})
	theirs, err := m.to.Get(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	changed(t, m.ring, theirs, func(r *store.Record) {
		r.WriteID, r.Modified, r.Revision = "later", r.Modified.Add(time.Second), subjects.Revision{}
	})
	if _, err := m.to.Put(t.Context(), theirs, store.Precondition{}); err != nil {
		t.Fatal(err)
	}
	m.page(t, subjects.MigrateRequest{}, subjects.MigrateReply{Newer: 1})
	if got, err := m.to.Get(t.Context(), at); err != nil || got.WriteID != "later" {
		t.Errorf("it was overwritten: %v", err)
	}
}

// Each failure is reported with its credential, and does not stop the others.
func TestMigrateFailures(t *testing.T) {
	m := newMigration(t, memory.New(), memory.New())
	for i := range 3 {
		m.store(t, target("org:acme", fmt.Sprint("c", i)), "x")
	}
	m.to.Set(storetest.Put, storetest.Fault{Err: store.ErrPermission, Calls: 1})
	reply := m.page(t, subjects.MigrateRequest{}, subjects.MigrateReply{Copied: 2})
	if len(reply.Failed) != 1 || reply.Failed[0].Code != subjects.PermissionDenied || reply.Failed[0].ID == "" {
		t.Errorf("failed %+v", reply.Failed)
	}
	m.page(t, subjects.MigrateRequest{}, subjects.MigrateReply{Copied: 1, Current: 2})
}

// A failure names the store, and leaves the store's other words to the log.
func TestMigrateFailuresNameTheStore(t *testing.T) {
	m := newMigration(t, memory.New(), memory.New())
	m.store(t, target("org:acme", "db"), "x")
	fault := storetest.Fault{Err: fmt.Errorf("%w: at an address", store.ErrPermission), Calls: 1}
	for _, c := range []struct {
		faults  *storetest.Faults
		call    storetest.Operation
		request subjects.MigrateRequest
		want    string
	}{
		{m.from, storetest.List, subjects.MigrateRequest{}, "store old: the store refused"},
		{m.from, storetest.Get, subjects.MigrateRequest{}, "store old: the store refused"},
		{m.to, storetest.Get, subjects.MigrateRequest{}, "store new: the store refused"},
		{m.to, storetest.Put, subjects.MigrateRequest{}, "store new: the store refused"},
		{m.to, storetest.List, subjects.MigrateRequest{Prune: true}, "store new: the store refused"},
	} {
		c.faults.Set(c.call, fault)
		c.request.From, c.request.To = "old", "new"
		reply, err := m.MigratePage(t.Context(), &c.request)
		failure, _ := manager.Explain(err, subjects.Target{})
		if err == nil {
			failure = &reply.Failed[0]
		}
		if failure.Code != subjects.PermissionDenied || !strings.HasPrefix(failure.Message, c.want) || strings.Contains(failure.Message, "address") {
			t.Errorf("%v: %v", c.call, failure)
		}
	}
	record, err := m.from.Get(t.Context(), target("org:acme", "db"))
	if err != nil {
		t.Fatal(err)
	}
	record.WriteID, record.Payload = "damaged", []byte("damaged")
	if _, err := m.from.Put(t.Context(), record, store.Precondition{}); err != nil {
		t.Fatal(err)
	}
	reply := m.page(t, subjects.MigrateRequest{}, subjects.MigrateReply{})
	if len(reply.Failed) != 1 || !strings.HasPrefix(reply.Failed[0].Message, "store old: the stored record does not open") {
		t.Errorf("failed %+v", reply.Failed)
	}
}

// corrupting is a store that changes the records it gets.
type corrupting struct{ store.Store }

func (c corrupting) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	changed := *rec
	changed.Description = "changed"
	return c.Store.Put(ctx, &changed, pre)
}

func TestMigrateVerifies(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := newMigration(t, memory.New(), corrupting{memory.New()})
		m.store(t, target("org:acme", "db"), "x")
		reply := m.page(t, subjects.MigrateRequest{}, subjects.MigrateReply{})
		if len(reply.Failed) != 1 || reply.Failed[0].Code != subjects.Internal || reply.Failed[0].Retryable {
			t.Errorf("failed %+v", reply.Failed)
		}
	})
}

// Migration waits for a store that shows a write a moment later.
func TestMigrateToAStoreThatLags(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := newMigration(t, memory.New(), memory.New())
		m.store(t, target("org:acme", "db"), "x")
		m.to.Set(storetest.Get, storetest.Fault{Err: store.ErrNotFound, Calls: 4})
		m.page(t, subjects.MigrateRequest{}, subjects.MigrateReply{Copied: 1})
	})
}

// Records that are not begun in the time of a request are counted as remaining.
func TestMigrateLeavesWhatThereIsNoTimeFor(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := newMigration(t, memory.New(), memory.New())
		for i := range 40 {
			m.store(t, target("org:acme", fmt.Sprint("c", i)), "x")
		}
		m.to.Set(storetest.Put, storetest.Fault{Latency: 800 * time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		reply, err := m.MigratePage(ctx, &subjects.MigrateRequest{From: "old", To: "new"})
		if err != nil || reply.Copied != 20 || reply.Remaining != 20 || reply.Cursor != "" {
			t.Errorf("%+v, %v", reply, err)
		}
	})
}

func TestMigrateRefuses(t *testing.T) {
	m := newMigration(t, memory.New(), memory.New())
	for _, request := range []subjects.MigrateRequest{
		{From: "old", To: "old"},
		{From: "old", To: "nowhere"},
		{From: "", To: "new"},
		{From: "new", To: "old"}, // which serves the reads
	} {
		if reply, err := m.MigratePage(t.Context(), &request); told(err) != subjects.InvalidArgument {
			t.Errorf("from %q to %q: %v, %v", request.From, request.To, reply, err)
		}
	}
	alone := newBed(t, memory.New(), nil, nil)
	if _, err := alone.MigratePage(t.Context(), &subjects.MigrateRequest{From: "old", To: "new"}); told(err) != subjects.InvalidArgument {
		t.Errorf("with one store only: %v", err)
	}
}
