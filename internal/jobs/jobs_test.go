package jobs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/store"
	"credbus/subjects"
)

func TestStoreJob(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	items := storeItems(3)
	items = append(items, subjects.StoreItem{Target: subjects.Target{ID: "empty"}}, subjects.StoreItem{Target: subjects.Target{Scope: "org:other", ID: "x"}, Data: items[0].Data})
	job := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "j-1", Submission: "j", Parts: 2}, items...)

	var states []subjects.JobState
	done := told.await(t, job, func(status *subjects.JobStatus) bool {
		states = append(states, status.State)
		if status.Submission != "j" || status.Parts != 2 || status.Command != subjects.StoreBatch {
			t.Errorf("%+v", status)
		}
		return ended(status)
	})
	if want := []subjects.JobState{subjects.JobAccepted, subjects.JobRunning, subjects.JobDone}; !slices.Equal(slices.Compact(states), want) && !slices.Equal(slices.Compact(states), want[1:]) {
		t.Errorf("states %v", states)
	}
	if done.Items != 5 || done.Succeeded != 3 || done.Failed != 2 || done.Attempts != 1 || done.Worker != "w1" || len(done.Results) != 5 {
		t.Errorf("%+v", done)
	}
	for i, result := range done.Results {
		switch {
		case i < 3 && (result.Err != nil || result.Version == "" || result.Pending || result.Target != (subjects.Target{Scope: scope, ID: target(i).ID})):
			t.Errorf("%d: %+v", i, result)
		case i >= 3 && (result.Err == nil || result.Err.Code != subjects.InvalidArgument || result.Pending):
			t.Errorf("%d: %+v", i, result)
		}
	}
	// A client that sees the job as done must see its writes.
	for i := range 3 {
		reply, _, err := w.config.Manager.Retrieve(t.Context(), nil, subjects.RetrieveItem{Target: subjects.Target{Scope: scope, ID: target(i).ID}}, done.Reached)
		if err != nil || !strings.Contains(string(reply), fmt.Sprint("value-", i)) {
			t.Errorf("%d: %v", i, err)
		}
	}
	awaitEmptyQueue(t, w)
}

// awaitEmptyQueue waits until the queue is empty.
func awaitEmptyQueue(t *testing.T, w *worker) {
	t.Helper()
	awaitQueue(t, w, 0)
}

// awaitQueue waits until the given number of jobs are left in the queue.
func awaitQueue(t *testing.T, w *worker, left uint64) {
	t.Helper()
	for range 2000 {
		info, err := w.queue.Info(t.Context())
		must(t, err)
		if info.State.Msgs == left {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the queue has more than %d jobs", left)
}

func (b *bed) put(t *testing.T, w *worker, items ...subjects.StoreItem) {
	t.Helper()
	for i := range items {
		item := items[i]
		if item.Scope == subjects.Root {
			item.Scope = scope
		}
		_, err := w.config.Manager.Store(t.Context(), &item, "")
		must(t, err)
	}
}

func TestReadsAndDeletes(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	items := storeItems(30)
	items[1].Expires = time.Now().Add(-time.Hour)
	b.put(t, w, items...)
	b.store.writes = nil

	var targets []subjects.Target
	var retrieves []subjects.RetrieveItem
	var deletes []subjects.DeleteItem
	for i := range 31 {
		targets = append(targets, target(i))
		retrieves = append(retrieves, subjects.RetrieveItem{Target: target(i)})
		deletes = append(deletes, subjects.DeleteItem{Target: target(i)})
	}
	validated := told.await(t, submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "v"}, targets...), ended)
	for i, result := range validated.Results {
		want := subjects.Valid
		switch i {
		case 1:
			want = subjects.Expired
		case 30:
			want = subjects.Missing
		}
		if result.Status != want || result.Err != nil || i == 1 && (!result.RotationDue || result.Expires.IsZero()) {
			t.Errorf("%d: %+v", i, result)
		}
	}
	retrieved := told.await(t, submit(t, b, w, subjects.RetrieveBatch, subjects.Job{ID: "r"}, retrieves...), ended)
	deleted := told.await(t, submit(t, b, w, subjects.DeleteBatch, subjects.Job{ID: "d"}, deletes...), ended)
	for name, status := range map[string]*subjects.JobStatus{"retrieved": retrieved, "deleted": deleted} {
		if status.State != subjects.JobDone || status.Succeeded != 30 || status.Failed != 1 {
			t.Errorf("%s: %+v", name, status)
		}
		for i, result := range status.Results {
			if (result.Err == nil) != (i < 30) || i == 30 && result.Err.Code != subjects.NotFound {
				t.Errorf("%s %d: %+v", name, i, result.Err)
			}
		}
	}
	if retrieved.Results[0].Version == "" {
		t.Error("a retrieved item has no version")
	}
	if log := b.store.log(); len(log) != 30 || log["delete key-0"] != 1 {
		t.Errorf("%v", log)
	}
}

func TestTransientFaults(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	failures := 0
	b.store.hooks(func(_ string, key subjects.Target) error {
		if key.ID == target(1).ID && failures < 2 {
			failures++
			return fmt.Errorf("%w: cut off", store.ErrUnavailable)
		}
		return nil
	}, nil)
	job := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "j"}, storeItems(3)...)
	waits := told.await(t, job, func(status *subjects.JobStatus) bool { return !status.RetryAt.IsZero() })
	if waits.State != subjects.JobRunning || waits.Succeeded != 2 || waits.Failed != 0 || !strings.Contains(waits.Reason, "storage_unavailable") || !waits.Results[1].Pending {
		t.Errorf("%+v", waits)
	}
	done := told.await(t, job, ended)
	if done.State != subjects.JobDone || done.Succeeded != 3 || done.Attempts != 3 || !done.RetryAt.IsZero() || done.Reason != "" {
		t.Errorf("%+v", done)
	}
	if log := b.store.log(); len(log) != 3 || log["put key-0"] != 1 || log["put key-1"] != 1 {
		t.Errorf("%v", log)
	}
}

func TestDuplicates(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	job := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "j"}, storeItems(2)...)
	done := told.await(t, job, ended)
	submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "j"}, storeItems(2)...)
	other := submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "k"}, target(0))
	told.await(t, other, ended)
	awaitEmptyQueue(t, w)
	again, err := w.Show(t.Context(), job, new(subjects.JobShowRequest))
	if err != nil || !again.Updated.Equal(done.Updated) || again.Succeeded != 2 {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestSameName stores a credential again by jobs of one name: in the scope above,
// and in the same scope after the first one was forgotten.
func TestSameName(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	for _, test := range []struct {
		value string
		scope subjects.Scope
	}{{"first", scope}, {"above", scope.Parent()}, {"later", scope}} {
		must(t, w.ledger.stream.Purge(t.Context()))
		items := storeItems(1)
		items[0].Scope, items[0].CreateOnly, items[0].Data = scope, false, subjects.Value([]byte(test.value))
		job := submitAt(t, b, w, test.scope, subjects.StoreBatch, subjects.Job{ID: "j"}, items...)
		if done := told.await(t, job, ended); done.Succeeded != 1 {
			t.Errorf("%s: %+v", test.value, done)
		}
		awaitEmptyQueue(t, w)
		reply, _, err := w.config.Manager.Retrieve(t.Context(), nil, subjects.RetrieveItem{Target: subjects.Target{Scope: scope, ID: target(0).ID}, Fresh: true}, subjects.Revision{})
		if err != nil || !strings.Contains(string(reply), test.value) {
			t.Errorf("%q was not stored: %v", test.value, err)
		}
	}
}

// TestByHand publishes like the nats command.
func TestByHand(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	b.put(t, w, storeItems(1)...)
	told := b.statuses(t)
	for id, publish := range map[subjects.ID]func(){
		"in-body": func() {
			b.publish(t, "cred.v1.job.validate_batch.org:acme.team:eng", []byte(`{"job":"in-body","items":[{"id":"key-0"}]}`))
		},
		"in-header": func() {
			msg := nats.NewMsg("cred.v1.job.validate_batch.org:acme.team:eng")
			msg.Header.Set(nats.MsgIdHdr, "in-header")
			msg.Data = []byte(`{"items":[{"id":"key-0"}]}`)
			if answer := string(w.Submit(t.Context(), msg)); answer != `{"stream":"CREDBUS_JOBS","seq":1}` {
				t.Errorf("the answer is %s", answer)
			}
		},
	} {
		publish()
		if done := told.await(t, subjects.Target{Scope: scope, ID: id}, ended); done.Succeeded != 1 || done.Submission != id {
			t.Errorf("%s: %+v", id, done)
		}
	}
	info, err := w.queue.Info(t.Context())
	must(t, err)
	b.publish(t, "cred.v1.job.validate_batch.org:acme.team:eng", []byte(`{"items":[{"id":"key-0"}]}`))
	told.await(t, subjects.Target{Scope: scope, ID: subjects.ID(fmt.Sprint("s", info.State.LastSeq+1))}, ended)
}

func TestTimes(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	soon := time.Now().Add(500 * time.Millisecond)
	later := submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "later", NotBefore: soon}, target(0))
	tooLate := submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "late", ExpiresAt: time.Now().Add(-time.Second)}, target(0))
	if done := told.await(t, tooLate, ended); done.State != subjects.JobFailed || !strings.Contains(done.Reason, "expired") || done.Dead {
		t.Errorf("%+v", done)
	}
	if done := told.await(t, later, ended); done.State != subjects.JobDone || done.Updated.Before(soon.Truncate(time.Millisecond)) {
		t.Errorf("%+v before %v", done, soon)
	}
}

// TestBackoffIsShorterThanTheMemory checks the pause before a retry: if the
// entry of the job were gone by then, its attempts and results would be lost.
func TestBackoffIsShorterThanTheMemory(t *testing.T) {
	s := &Service{config: Config{Keep: time.Minute, Backoff: time.Second}.withDefaults()}
	if d := s.backoff(10); d > 30*time.Second || d < 20*time.Second {
		t.Errorf("the pause is %v where jobs are known for a minute", d)
	}
	s.config.Keep = 24 * time.Hour
	if d := s.backoff(10); d > 5*time.Minute || d < 3*time.Minute {
		t.Errorf("the pause is %v", d)
	}
}

// TestDeletedStreams deletes each stream of jobs under a running worker, which
// must make it again as soon as a job needs it.
func TestDeletedStreams(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", func(c *Config) { c.Backoff = 100 * time.Millisecond })
	told := b.statuses(t)
	for i, stream := range []string{"CREDBUS_JOBS_STATUS", "CREDBUS_JOBS_DEAD", "CREDBUS_JOBS"} {
		must(t, b.js.DeleteStream(t.Context(), stream))
		if stream == "CREDBUS_JOBS" {
			for range 2000 { // it asks for jobs, and so notices by itself
				if _, err := b.js.Stream(t.Context(), stream); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		good := submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: subjects.ID(fmt.Sprint("good-", i))}, target(0))
		if done := told.await(t, good, ended); done.State != subjects.JobDone {
			t.Errorf("without %s: it is %s: %s", stream, done.State, done.Reason)
		}
		bad := subjects.Target{Scope: scope, ID: subjects.ID(fmt.Sprint("bad-", i))}
		b.publish(t, prefix.Job(subjects.ValidateBatch, scope, bad.ID), []byte("{}"))
		if failed := told.await(t, bad, ended); !failed.Dead {
			t.Errorf("without %s: it is %s: %s", stream, failed.State, failed.Reason)
		}
		if _, err := w.Drop(t.Context(), bad); err != nil {
			t.Errorf("without %s: %v", stream, err)
		}
	}
}
