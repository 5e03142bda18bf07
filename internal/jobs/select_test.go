package jobs

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/store"
	"credbus/subjects"
)

// TestSelect lets a job select more than one page of credentials, and kills its
// worker in between.
func TestSelect(t *testing.T) {
	b := newBed(t)
	first := b.start(t, "w1", nil)
	told := b.statuses(t)
	const n = 230
	for i := range n {
		item := storeItems(1)[0]
		item.ID = subjects.ID(fmt.Sprintf("old-%03d", i))
		item.Tags = map[string]string{"age": "old"}
		b.put(t, first, item)
	}
	b.put(t, first, storeItems(5)...)
	b.store.writes = nil
	first.kill()
	b.start(t, "w2", nil)
	b.start(t, "w3", nil)
	job := subjects.Job{ID: "d-0", Submission: "d", All: true, Filter: subjects.Filter{Tags: map[string]string{"age": "old"}}}
	b.publish(t, prefix.Job(subjects.DeleteBatch, scope, job.ID), subjects.Append(nil, &job))
	ends := make(map[subjects.ID]*subjects.JobStatus)
	for _, id := range []subjects.ID{"d-0", "d-1", "d-2", "d-3"} {
		ends[id] = told.await(t, subjects.Target{Scope: scope, ID: id}, ended)
	}
	if top := ends["d-0"]; top.State != subjects.JobDone || top.Parts != 4 || len(top.Results) != 0 {
		t.Errorf("%+v", top)
	}
	total := 0
	for _, id := range []subjects.ID{"d-1", "d-2", "d-3"} {
		part := ends[id]
		if part.State != subjects.JobDone || part.Failed != 0 || part.Submission != "d" {
			t.Fatalf("%s: %+v", id, part)
		}
		total += part.Succeeded
	}
	if log := b.store.log(); total != n || len(log) != n {
		t.Errorf("%d deleted, %d writes", total, len(log))
	}
}

// TestSelectBelow lets a job select in a scope below its own, after somebody
// used the message id that a job for the found credentials might have.
func TestSelectBelow(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	items := storeItems(2)
	items[1].Scope = scope.Parent()
	b.put(t, w, items...)
	other := nats.NewMsg(prefix.Job(subjects.ValidateBatch, "org:other", "x"))
	other.Data = []byte(`{"items":[{"id":"x"}]}`)
	other.Header.Set(nats.MsgIdHdr, "org:acme/d-1")
	w.Submit(t.Context(), other)
	b.publish(t, prefix.Job(subjects.DeleteBatch, scope.Parent(), "d"), []byte(`{"all":true,"scope":"`+string(scope)+`"}`))
	part := told.await(t, subjects.Target{Scope: scope.Parent(), ID: "d-1"}, ended)
	if part.Succeeded != 1 || len(part.Results) != 1 || part.Results[0].Scope != scope {
		t.Errorf("%+v", part)
	}
}

// TestSelectResumes kills the worker of a selection between its pages.
func TestSelectResumes(t *testing.T) {
	b := newBed(t)
	w := b.make(t, "w1", nil)
	for i := range 150 {
		item := storeItems(1)[0]
		item.ID = subjects.ID(fmt.Sprintf("key-%03d", i))
		b.put(t, w, item)
	}
	p := &posting{command: subjects.ValidateBatch, Target: subjects.Target{Scope: scope, ID: "v-0"}, job: subjects.Job{ID: "v-0", Submission: "v", Parts: 1, All: true}}
	// When the worker stops, the first page is entered, but perhaps not handed
	// over.
	e := &entry{status: p.status()}
	must(t, w.begin(t.Context(), e))
	must(t, w.nextPage(t.Context(), e, p, scope))
	must(t, w.handPage(t.Context(), e, p))
	// Meanwhile a credential is stored that would be on that page.
	early := storeItems(1)[0]
	early.ID = "a-first"
	b.put(t, w, early)
	b.publish(t, prefix.Job(subjects.ValidateBatch, scope, "v-0"), subjects.Append(nil, &p.job))
	told := b.statuses(t)
	b.start(t, "w2", nil)
	seen := make(map[subjects.Target]int)
	for _, id := range []subjects.ID{"v-1", "v-2"} {
		for _, result := range told.await(t, subjects.Target{Scope: scope, ID: id}, ended).Results {
			seen[result.Target]++
		}
	}
	if len(seen) != 150 {
		t.Errorf("%d credentials, want 150", len(seen))
	}
	for target, times := range seen {
		if times != 1 {
			t.Errorf("%s: %d times", target, times)
		}
	}
}

// unlisted is a store with failing lists.
type unlisted struct{ store.Store }

func (unlisted) List(context.Context, store.ListOptions) (store.Page, error) {
	return store.Page{}, store.ErrUnavailable
}

// TestSelectionThatWaits cancels a selection between two attempts, which must
// end it at once.
func TestSelectionThatWaits(t *testing.T) {
	b := newBed(t)
	w := b.make(t, "w1", func(c *Config) { c.Backoff = time.Hour })
	w.store.Store = unlisted{b.store}
	must(t, w.Start(t.Context()))
	told := b.statuses(t)
	job := subjects.Job{ID: "v-0", Submission: "v", All: true}
	b.publish(t, prefix.Job(subjects.ValidateBatch, scope, job.ID), subjects.Append(nil, &job))
	waits := told.await(t, subjects.Target{Scope: scope, ID: job.ID}, func(status *subjects.JobStatus) bool { return status.Reason != "" })
	if waits.State != subjects.JobRunning || waits.RetryAt.IsZero() {
		t.Errorf("it is %s, and tried again at %v", waits.State, waits.RetryAt)
	}
	if status, err := w.Cancel(t.Context(), waits.Target); err != nil || status.State != subjects.JobCancelled {
		t.Errorf("cancelled, it is %s: %v", status.State, err)
	}
}
