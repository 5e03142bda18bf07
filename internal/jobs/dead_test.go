package jobs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// A retried dead letter must continue its job, in whichever form it was
// published.
func TestGivenUp(t *testing.T) {
	for _, json := range []bool{false, true} {
		t.Run(fmt.Sprint("json ", json), func(t *testing.T) { testGivenUp(t, json) })
	}
}

func testGivenUp(t *testing.T, json bool) {
	b := newBed(t)
	b.json = json
	w := b.start(t, "w1", func(c *Config) { c.Attempts = 2 })
	told := b.statuses(t)
	b.store.hooks(func(_ string, key subjects.Target) error {
		if key.ID == target(1).ID {
			return store.ErrUnavailable
		}
		return nil
	}, nil)
	job := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "j"}, storeItems(3)...)
	failed := told.await(t, job, ended)
	if failed.State != subjects.JobFailed || !failed.Dead || failed.Attempts != 2 || failed.Succeeded != 2 || !strings.Contains(failed.Reason, "2 attempts") || !strings.Contains(failed.Reason, "storage_unavailable") ||
		!strings.Contains(failed.Reason, "the next attempt finds out") || strings.Contains(failed.Results[1].Err.Message, "request_id") {
		t.Errorf("%+v", failed)
	}
	awaitEmptyQueue(t, w)
	dead, err := w.List(t.Context(), &subjects.JobListRequest{Scope: "org:acme", Dead: true}, 1<<20, func(b []byte) int { return len(b) })
	if err != nil || len(dead.Jobs) != 1 || dead.Jobs[0].Target != job || dead.Jobs[0].Reason != failed.Reason || dead.Cursor != "" {
		t.Fatalf("%+v, %v", dead, err)
	}
	b.store.hooks(nil, nil)
	if status, err := w.Retry(t.Context(), job); err != nil || status.State != subjects.JobAccepted {
		t.Fatalf("%+v, %v", status, err)
	}
	done := told.await(t, job, ended)
	if done.State != subjects.JobDone || done.Succeeded != 3 || done.Dead {
		t.Errorf("%+v", done)
	}
	if log := b.store.log(); len(log) != 3 || log["put key-0"] != 1 {
		t.Errorf("%v", log)
	}
	if _, err := w.Retry(t.Context(), job); !errors.Is(err, errDead) {
		t.Errorf("retried twice: %v", err)
	}
}

// TestPoison publishes jobs that can never be carried out.
func TestPoison(t *testing.T) {
	const canary = "canary-6f1b2d"
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	// This job stays, and so do the files of the queue.
	submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "waits", NotBefore: time.Now().Add(time.Hour)}, target(0))
	for id, test := range map[string]struct {
		command subjects.Command
		body    string
		reason  string
	}{
		"garbage":  {subjects.DeleteBatch, "\xc1garbage", "cannot be read"},
		"clear":    {subjects.StoreBatch, `{"items":[{"id":"x","value":"` + canary + `"}]}`, "values in clear"},
		"patch":    {subjects.PatchBatch, `{"items":[{"id":"x","value":"` + canary + `","tags":{"a":null}}]}`, "values in clear"},
		"patches":  {subjects.PatchBatch, `{"sealed":{"base64":"AAAA"},"sealed_to":"x","items":[{"id":"x","value":"` + canary + `","tags":null}]}`, "values in clear"},
		"tags":     {subjects.PatchBatch, `{"all":true,"tags":{"a":"b"}}`, "values in clear"},
		"half":     {subjects.StoreBatch, `{"items":[{"id":"x","value":"` + canary + `"}]`, "cannot be read"},
		"beside":   {subjects.StoreBatch, `{"sealed":{"base64":"AAAA"},"sealed_to":"x","items":[{"id":"x","value":"` + canary + `"}]}`, "values in clear"},
		"forged":   {subjects.StoreBatch, `{"sealed":{"base64":"AAAA"},"sealed_to":"` + w.config.Keys.Current().ID + `"}`, "does not open"},
		"foreign":  {subjects.StoreBatch, `{"sealed":{"base64":"AAAA"},"sealed_to":"other"}`, "sealed to the key"},
		"empty":    {subjects.ValidateBatch, `{}`, "no items"},
		"outside":  {subjects.ValidateBatch, `{"scope":"org:other","items":[{"id":"x"}]}`, "neither the scope of the subject"},
		"all-sets": {subjects.StoreBatch, `{"all":true,"sealed":"x"}`, "leave out all"},
		"both":     {subjects.DeleteBatch, `{"all":true,"items":[{"id":"x"}]}`, "exclude each other"},
		"all-else": {subjects.DeleteBatch, `{"all":true,"scope":"org:other"}`, "neither the scope of the subject"},
		"all-long": {subjects.DeleteBatch, `{"all":true,"batch":"` + strings.Repeat("b", 41) + `"}`, "at most 40"},
		// Refused fields must not make the status unreadable.
		"long":     {subjects.ValidateBatch, `{"batch":"` + strings.Repeat("b", 57) + `","items":[{"id":"x"}]}`, "at most 56"},
		"too-long": {subjects.ValidateBatch, `{"batch":"` + strings.Repeat("b", 300) + `","items":[{"id":"x"}]}`, "300 characters"},
		"parts":    {subjects.ValidateBatch, `{"parts":-1,"items":[{"id":"x"}]}`, "parts is -1"},
	} {
		job := subjects.Target{Scope: scope, ID: subjects.ID(id)}
		b.publish(t, prefix.Job(test.command, scope, job.ID), []byte(test.body))
		failed := told.await(t, job, ended)
		if failed.State != subjects.JobFailed || !failed.Dead || !strings.Contains(failed.Reason, test.reason) || strings.Contains(failed.Reason, canary) {
			t.Errorf("%s: %+v", id, failed)
		}
		if shown, err := w.Show(t.Context(), job, new(subjects.JobShowRequest)); err != nil || shown.State != subjects.JobFailed {
			t.Errorf("%s: shown as %+v, %v", id, shown, err)
		}
		dropped, err := w.Drop(t.Context(), job)
		if err != nil || dropped.Dead {
			t.Errorf("%s: %+v, %v", id, dropped, err)
		}
		if _, err := w.Drop(t.Context(), job); !errors.Is(err, errDead) {
			t.Errorf("%s: dropped twice: %v", id, err)
		}
	}
	// A job that was done, a message that is not a job, and a job with a name
	// that is too long.
	again := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "again"}, storeItems(1)...)
	told.await(t, again, ended)
	inClear := []byte(`{"items":[{"id":"x","value":"` + canary + `"}]}`)
	b.publish(t, prefix.Job(subjects.StoreBatch, scope, again.ID), inClear)
	b.publish(t, "cred.v1.job.nonsense.org:acme", inClear)
	b.publish(t, prefix.Job(subjects.StoreBatch, scope, subjects.ID(strings.Repeat("n", 57))), inClear)
	awaitQueue(t, w, 1)
	info, err := w.queue.Info(t.Context())
	must(t, err)
	long, err := w.Show(t.Context(), subjects.Target{Scope: scope, ID: subjects.ID(fmt.Sprint("s", info.State.LastSeq))}, new(subjects.JobShowRequest))
	if err != nil || !strings.Contains(long.Reason, "at most 56") {
		t.Errorf("%+v, %v", long, err)
	}
	if b.onDisk(t, canary) {
		t.Error("a value that was published in clear is still on disk")
	}
}

// TestNothingReadableOnDisk keeps a job in every place where it can be.
func TestNothingReadableOnDisk(t *testing.T) {
	const canary = "canary-93ab7c"
	b := newBed(t)
	w := b.start(t, "w1", func(c *Config) { c.Attempts = 1 })
	told := b.statuses(t)
	b.store.hooks(func(string, subjects.Target) error { return store.ErrUnavailable }, nil)
	item := subjects.StoreItem{Target: target(0), Data: subjects.Value([]byte(canary)), Metadata: subjects.Metadata{Description: "about the canary"}}
	dead := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "dead"}, item)
	told.await(t, dead, ended)
	submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "waits", NotBefore: time.Now().Add(time.Hour)}, item)
	if b.onDisk(t, canary) || b.onDisk(t, "about the canary") {
		t.Error("a job's items can be read on disk")
	}
	if !b.onDisk(t, "sealed_to") {
		t.Error("the jobs are not found on disk: the test looks in the wrong place")
	}
}
