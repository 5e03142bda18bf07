package manager_test

import (
	"errors"
	"testing"
	"time"

	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// lagging is a store that is ahead of the log: a writer has changed the store,
// and neither of two other replicas has applied its intent. One of them still
// has the old value in its cache.
type lagging struct {
	fresh, cached *bed
	log           *coherencetest.Log
	at            subjects.Target
	intent        subjects.Revision // of the write; its done comes next
}

// newLagging has write change the key at, which holds "old".
func newLagging(t *testing.T, write func(t *testing.T, m *manager.Manager, at subjects.Target) subjects.Revision) *lagging {
	t.Helper()
	shared, log, ring := memory.New(), coherencetest.NewLog(), keyring(t)
	same := func(c *manager.Config) { c.Keyring = ring }
	writer, fresh, cached := newBed(t, shared, log, same), newBed(t, shared, log, same), newBed(t, shared, log, same)
	l := &lagging{fresh: fresh, cached: cached, log: log, at: target("org:acme/team:eng", "db")}
	parent := subjects.StoreItem{Target: target("org:acme", "db"), Data: subjects.Value([]byte("inherited"))}
	parent.Inheritable = true
	writer.storeItem(t, parent)
	old := writer.store(t, l.at, "old")
	for _, b := range []*bed{fresh, cached} {
		if err := b.replica.Await(t.Context(), old.Revision); err != nil {
			t.Fatal(err)
		}
	}
	if got := cached.value(t, subjects.RetrieveItem{Target: l.at}); got != "old" {
		t.Fatalf("before the write the key has %q", got)
	}
	log.Hold(fresh.replica.Name(), cached.replica.Name())
	t.Cleanup(log.Release)
	done := write(t, writer.Manager, l.at)
	l.intent = subjects.Revision{Stream: done.Stream, Seq: done.Seq - 1}
	if l.intent.Compare(fresh.replica.Applied()) <= 0 {
		t.Fatal("the replicas do not lag")
	}
	if got := cached.value(t, subjects.RetrieveItem{Target: l.at}); got != "old" {
		t.Fatalf("nothing old is cached: %q", got)
	}
	return l
}

func overwrite(t *testing.T, m *manager.Manager, at subjects.Target) subjects.Revision {
	reply, err := m.Store(t.Context(), &subjects.StoreItem{Target: at, Data: subjects.Value([]byte("new"))}, "")
	if err != nil {
		t.Fatal(err)
	}
	return reply.Revision
}

func remove(t *testing.T, m *manager.Manager, at subjects.Target) subjects.Revision {
	reply, err := m.Delete(t.Context(), subjects.DeleteItem{Target: at})
	if err != nil {
		t.Fatal(err)
	}
	return reply.Revision
}

// reaches fails unless a reply's revision keeps the other replica from
// answering with its cached value.
func (l *lagging) reaches(t *testing.T, what string, revision subjects.Revision) {
	t.Helper()
	if revision.Compare(l.intent) < 0 {
		t.Errorf("%s shows the write and has revision %q, its intent is at %s", what, revision, l.intent)
	}
	reply, err := l.cached.retrieve(t.Context(), subjects.RetrieveItem{Target: l.at}, revision)
	if err == nil && string(reply.Data[subjects.ValueName].Bytes()) == "old" {
		t.Errorf("after %s the next replica shows an older state", what)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}

// revisionOf returns the revision that the caller of a failed command sees.
func revisionOf(err error) subjects.Revision {
	e, _ := manager.Explain(err, subjects.Target{})
	return e.Revision
}

func TestStoreReadAheadOfTheLog(t *testing.T) {
	l := newLagging(t, overwrite)
	item := subjects.RetrieveItem{Target: l.at}
	refused := l.fresh.replica.Refused()
	for range 2 {
		reply, err := l.fresh.retrieve(t.Context(), item, subjects.Revision{})
		if err != nil || string(reply.Data[subjects.ValueName].Bytes()) != "new" {
			t.Fatalf("from the store: %v, %v", reply, err)
		}
		l.reaches(t, "a retrieve", reply.Revision)
	}
	if n := l.fresh.replica.Refused() - refused; n != 2 {
		t.Errorf("%d of 2 fills ahead of the log were refused", n)
	}
	if _, _, ok := l.fresh.Hit(nil, []byte(l.at.Scope), []byte(l.at.ID), nil); ok {
		t.Error("a value read ahead of the log is cached, so hits would have too low a revision")
	}

	batch, err := l.fresh.RetrieveBatch(t.Context(), &subjects.RetrieveBatchRequest{Items: []subjects.RetrieveItem{item}}, whole, subjects.Room{})
	if err != nil {
		t.Fatal(err)
	}
	l.reaches(t, "a batch of retrieves", batch.Revision)
	verdict, err := l.fresh.Validate(t.Context(), l.at)
	if err != nil {
		t.Fatal(err)
	}
	l.reaches(t, "a validation", verdict.Revision)
	described, err := l.fresh.Describe(t.Context(), l.at)
	if err != nil {
		t.Fatal(err)
	}
	l.reaches(t, "a description", described.Revision)

	l.log.Fail(errors.New("no stream")) // only the records show it
	list, err := l.fresh.List(t.Context(), &subjects.ListRequest{Scope: l.at.Scope}, 1<<20, func(b []byte) int { return len(b) })
	if err != nil {
		t.Fatal(err)
	}
	l.reaches(t, "a list", list.Revision)
	l.log.Fail(nil)

	l.log.Release()
	end, err := l.fresh.replica.End(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.fresh.replica.Await(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if err := l.fresh.replica.AwaitTrust(t.Context()); err != nil { // there was no log for a while
		t.Fatal(err)
	}
	l.fresh.value(t, item)
	if _, _, ok := l.fresh.Hit(nil, []byte(l.at.Scope), []byte(l.at.ID), nil); !ok {
		t.Error("after the write is applied, its value is not cached")
	}
}

// After a delete, no record shows the revision.
func TestStoreReadAheadOfADelete(t *testing.T) {
	l := newLagging(t, remove)
	item := subjects.RetrieveItem{Target: l.at}
	_, err := l.fresh.retrieve(t.Context(), item, subjects.Revision{})
	if told(err) != subjects.NotFound {
		t.Fatal(err)
	}
	l.reaches(t, "a retrieve", revisionOf(err))

	item.Inherit = true
	for range 2 { // the second one gets the parent's from the cache
		reply, err := l.fresh.retrieve(t.Context(), item, subjects.Revision{})
		if err != nil || string(reply.Data[subjects.ValueName].Bytes()) != "inherited" {
			t.Fatalf("with inherit: %v, %v", reply, err)
		}
		l.reaches(t, "a retrieve that inherits", reply.Revision)
	}
	for _, inherit := range []bool{false, true} {
		item.Inherit = inherit
		batch, err := l.fresh.RetrieveBatch(t.Context(), &subjects.RetrieveBatchRequest{Items: []subjects.RetrieveItem{item}}, whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		l.reaches(t, "a batch of retrieves", batch.Revision)
	}

	verdict, err := l.fresh.Validate(t.Context(), l.at)
	if err != nil || verdict.Status != subjects.Missing {
		t.Fatal(verdict, err)
	}
	l.reaches(t, "a validation", verdict.Revision)
	_, err = l.fresh.Describe(t.Context(), l.at)
	missing, _ := manager.Explain(err, l.at)
	if missing.Code != subjects.NotFound {
		t.Fatal(err)
	}
	l.reaches(t, "a description", missing.Revision)
	request := &subjects.ValidateBatchRequest{}
	request.Items = []subjects.Target{l.at}
	for _, all := range []bool{false, true} {
		if request.All = all; all {
			request.Items, request.Scope = nil, l.at.Scope
		}
		verdicts, err := l.fresh.ValidateBatch(t.Context(), request, whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		l.reaches(t, "a batch of validations", verdicts.Revision)
	}

	list, err := l.fresh.List(t.Context(), &subjects.ListRequest{Scope: l.at.Scope}, 1<<20, func(b []byte) int { return len(b) })
	if err != nil || len(list.Items) != 0 {
		t.Fatal(list, err)
	}
	l.reaches(t, "a list", list.Revision)
}

// A missing credential must be reported as missing, whether the log answers or
// not.
func TestNotFoundWithoutTheLog(t *testing.T) {
	log := coherencetest.NewLog()
	b := newBed(t, memory.New(), log, nil)
	reply := b.store(t, target("org:acme", "db"), "x")
	log.Fail(errors.New("no stream"))
	_, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: target("org:acme", "none")}, subjects.Revision{})
	if told(err) != subjects.NotFound || revisionOf(err) != reply.Revision {
		t.Errorf("%v at %q, want not_found at %s", err, revisionOf(err), reply.Revision)
	}
}
