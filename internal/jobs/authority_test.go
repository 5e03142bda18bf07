package jobs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"credbus/subjects"
)

// TestRefusedItemsYieldNothing names credentials of another tenant, and one
// that breaks a rule, in jobs of each command. The worker must look up nothing
// about them: not before the job begins, not when it resumes from the entry of
// a version that did so, and not when the job is cancelled.
func TestRefusedItemsYieldNothing(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	foreign := storeItems(1)[0]
	foreign.Scope, foreign.ID = "org:other", "theirs"
	b.put(t, w, foreign)
	b.store.writes = nil
	check := func(name string, st *subjects.JobStatus, state subjects.JobState) {
		t.Helper()
		if st.State != state || len(st.Results) != 2 || st.Failed != 2 {
			t.Fatalf("%s: %+v", name, st)
		}
		for i, result := range st.Results {
			if result.Pending || result.Version != "" || result.Err == nil || result.Err.Code != subjects.InvalidArgument || result.Status != "" {
				t.Errorf("%s %d: %+v", name, i, result)
			}
		}
		if unread := st.Results[1]; unread.Scope != scope || unread.Err.Scope != scope {
			t.Errorf("%s: the item that cannot be read is at %q and %q", name, unread.Scope, unread.Err.Scope)
		}
	}
	target := foreign.Target
	const body = `{"items":[{"scope":"org:other","id":"theirs"},{"id":"a.b"}]}`
	for _, command := range []subjects.Command{subjects.DeleteBatch, subjects.RetrieveBatch, subjects.ValidateBatch} {
		job := subjects.Target{Scope: scope, ID: subjects.ID(command)}
		b.publish(t, prefix.Job(command, scope, job.ID), []byte(body))
		check(string(command), told.await(t, job, ended), subjects.JobDone)
	}
	for name, cancelling := range map[subjects.ID]bool{"resumed": false, "cancelled": true} {
		job := subjects.Target{Scope: scope, ID: name}
		was := subjects.JobStatus{
			Target: job, Submission: name, Parts: 1, Command: subjects.DeleteBatch, State: subjects.JobRunning, Worker: "gone", Attempts: 1, Items: 2, Cancelling: cancelling,
			Results: []subjects.JobResult{{Target: target, Pending: true}, {Target: target, Pending: true, Version: "v-seen-before"}},
		}
		must(t, w.ledger.put(t.Context(), &entry{status: was}))
		b.publish(t, prefix.Job(subjects.DeleteBatch, scope, job.ID), []byte(body))
		state := subjects.JobDone
		if cancelling {
			state = subjects.JobCancelled
		}
		check(string(name), told.await(t, job, ended), state)
	}
	if log := b.store.log(); len(log) != 0 {
		t.Errorf("%v", log)
	}
}

// TestNameIsBoundToContent publishes other jobs under the name of a job, while
// it waits and after it is done. They must be refused and change nothing.
func TestNameIsBoundToContent(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	other := storeItems(2)
	other[1].Data = subjects.Value([]byte("another value"))
	waits := time.Now().Add(2 * time.Second)
	name := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "j", NotBefore: waits}, storeItems(2)...)
	told.await(t, name, func(st *subjects.JobStatus) bool { return st.Content != "" })

	conflicts := 0
	contend := func() {
		t.Helper()
		submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "j"}, other...)                                   // another value
		submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "j"}, target(0))                               // another command
		b.publish(t, prefix.Job(subjects.StoreBatch, scope, "j"), []byte("\xc1garbage"))                        // nothing at all
		b.publish(t, prefix.Job(subjects.StoreBatch, scope, "j"), []byte(`{"items":[{"id":"x","value":"v"}]}`)) // in clear
		conflicts += 4
		told.await(t, name, func(st *subjects.JobStatus) bool { return st.Conflicts == conflicts })
	}
	contend()
	done := told.await(t, name, ended)
	if done.State != subjects.JobDone || done.Succeeded != 2 || done.Command != subjects.StoreBatch {
		t.Errorf("%+v", done)
	}
	contend()
	if log := b.store.log(); len(log) != 2 {
		t.Errorf("%v", log)
	}

	// The submitter can ask which job has the name.
	ask := func(command subjects.Command, job subjects.Job, items ...subjects.StoreItem) error {
		posted := sealed(t, w, scope, command, job, items...)
		_, err := w.Show(t.Context(), name, &subjects.JobShowRequest{Command: command, Posted: subjects.Append(nil, &posted)})
		return err
	}
	if err := ask(subjects.StoreBatch, subjects.Job{ID: "j"}, storeItems(2)...); err != nil {
		t.Errorf("the same items: %v", err)
	}
	if err := ask(subjects.StoreBatch, subjects.Job{ID: "j"}, other...); !errors.Is(err, errOther) {
		t.Errorf("other items: %v", err)
	}
	// The same content in another scope is another job.
	if _, err := w.Show(t.Context(), subjects.Target{Scope: "org:acme", ID: "j"}, &subjects.JobShowRequest{Command: subjects.ValidateBatch, Posted: []byte(`{"items":[{"id":"x"}]}`)}); !errors.Is(err, errNoJob) {
		t.Errorf("above: %v", err)
	}
}

// TestSealIsBound changes the fields beside a seal, and publishes an old job
// again.
func TestSealIsBound(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", func(c *Config) { c.Keep = time.Minute })
	told := b.statuses(t)
	soon := time.Now().Add(time.Hour)
	for reason, change := range map[string]func(*subjects.Job){
		"not_before": func(j *subjects.Job) { j.NotBefore = time.Time{} },
		"expires_at": func(j *subjects.Job) { j.ExpiresAt = time.Time{} },
		"batch":      func(j *subjects.Job) { j.Submission = "other" },
		"parts":      func(j *subjects.Job) { j.Parts = 7 },
	} {
		job := sealed(t, w, scope, subjects.StoreBatch, subjects.Job{ID: subjects.ID(reason), NotBefore: soon, ExpiresAt: soon.Add(time.Hour)}, storeItems(1)...)
		change(&job)
		b.publish(t, prefix.Job(subjects.StoreBatch, scope, job.ID), subjects.Append(nil, &job))
		if failed := told.await(t, subjects.Target{Scope: scope, ID: job.ID}, ended); !strings.Contains(failed.Reason, reason+" beside the seal") {
			t.Errorf("%s: %s", reason, failed.Reason)
		}
	}
	for id, test := range map[subjects.ID]struct {
		age    time.Duration
		reason string
	}{
		"young":  {30 * time.Second, ""},
		"old":    {55 * time.Second, "jobs.keep"},
		"future": {-20 * time.Second, "after it reached the queue"},
	} {
		job := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: id, Submitted: w.clock.now().Add(-test.age)}, storeItems(1)...)
		if end := told.await(t, job, ended); !strings.Contains(end.Reason, test.reason) || (end.State == subjects.JobDone) != (test.reason == "") {
			t.Errorf("%s: %s, %s", id, end.State, end.Reason)
		}
	}
}

// TestDelayIsBounded submits a job for a time that is too far ahead.
func TestDelayIsBounded(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", func(c *Config) { c.MaxDelay = time.Hour })
	told := b.statuses(t)
	for id, at := range map[subjects.ID]time.Time{"eternal": time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), "late": time.Now().Add(2 * time.Hour)} {
		failed := told.await(t, submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: id, NotBefore: at}, target(0)), ended)
		if failed.State != subjects.JobFailed || !strings.Contains(failed.Reason, "jobs.max_delay") {
			t.Errorf("%s: %s, %s", id, failed.State, failed.Reason)
		}
	}
	awaitEmptyQueue(t, w)
}

// TestServersClockDecides has workers whose clocks are half an hour off.
func TestServersClockDecides(t *testing.T) {
	for name, off := range map[string]time.Duration{"ahead": 30 * time.Minute, "behind": -30 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			w := b.start(t, "w1", func(c *Config) { c.Clock = func() time.Time { return time.Now().Add(off) } })
			told := b.statuses(t)
			waits := submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "waits", NotBefore: time.Now().Add(20 * time.Minute)}, target(0))
			over := submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "over", ExpiresAt: time.Now().Add(-20 * time.Minute)}, target(0))
			now := submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "now", NotBefore: time.Now().Add(-time.Second), ExpiresAt: time.Now().Add(20 * time.Minute)}, target(0))
			stored := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "stored"}, storeItems(1)...)
			for job, state := range map[subjects.Target]subjects.JobState{over: subjects.JobFailed, now: subjects.JobDone, stored: subjects.JobDone} {
				if end := told.await(t, job, ended); end.State != state || time.Until(end.Updated).Abs() > 10*time.Minute {
					t.Errorf("%s: %s, %s at %v", job, end.State, end.Reason, end.Updated)
				}
			}
			if st, err := w.Show(t.Context(), waits, new(subjects.JobShowRequest)); err != nil || st.State != subjects.JobAccepted {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}
