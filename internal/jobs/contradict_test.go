package jobs

import (
	"strings"
	"testing"

	"credbus/subjects"
)

// A job that contradicts itself, or has fields without a meaning in jobs, must
// fail as a whole, and its status must say what to change.
func TestContradictoryJobs(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	fails := func(command subjects.Command, id subjects.ID, body []byte, reason string) {
		t.Helper()
		b.publish(t, prefix.Job(command, scope, id), body)
		if done := told.await(t, subjects.Target{Scope: scope, ID: id}, ended); done.State != subjects.JobFailed || !strings.Contains(done.Reason, reason) {
			t.Errorf("%s is %s, and says %q, want %q", body, done.State, done.Reason, reason)
		}
	}
	for id, test := range map[subjects.ID]struct{ body, reason string }{
		"timeout":   {`{"items":[{"id":"a"}],"timeout":5}`, "expires_at"},
		"deadline":  {`{"items":[{"id":"a"}],"deadline":1}`, "expires_at"},
		"requestid": {`{"items":[{"id":"a"}],"request_id":"r"}`, "request_id"},
		"allof":     {`{"all":true,"timeout":5}`, "expires_at"},
		"filter":    {`{"items":[{"id":"a"}],"id_prefix":"a"}`, "all"},
		"both":      {`{"items":[{"id":"a"}],"all":true}`, "all and items"},
		"none":      {`{}`, "set all"},
	} {
		fails(subjects.ValidateBatch, id, []byte(test.body), test.reason)
	}

	// Beside a seal.
	for id, test := range map[subjects.ID]struct{ beside, reason string }{
		"s-scope":       {`"scope":"org:acme/team:eng/service:api"`, "scope beside the seal"},
		"s-concurrency": {`"concurrency":3`, "concurrency beside the seal"},
		"s-tags":        {`"tags":{"env":"prod"}`, "leave out all"},
		"s-timeout":     {`"timeout":3`, "expires_at"},
		"s-all":         {`"all":true`, "leave out all"},
	} {
		job := sealed(t, w, scope, subjects.StoreBatch, subjects.Job{ID: id}, storeItems(1)...)
		body, err := subjects.ToJSON(subjects.Append(nil, &job))
		must(t, err)
		fails(subjects.StoreBatch, id, append([]byte("{"+test.beside+","), body[1:]...), test.reason)
	}
	validate := sealed(t, w, scope, subjects.ValidateBatch, subjects.Job{ID: "s-items"}, target(0))
	body, err := subjects.ToJSON(subjects.Append(nil, &validate))
	must(t, err)
	fails(subjects.ValidateBatch, "s-items", append([]byte(`{"items":[{"id":"a"}],`), body[1:]...), "items stand beside the seal")

	// An ID within the seal is that of the subject.
	key := w.config.Keys.Current()
	another, err := key.Public().Seal(subjects.Append(nil, &subjects.ValidateJob{
		Job:     subjects.Job{ID: "another", Submitted: w.clock.now()},
		Request: subjects.BatchRequest[subjects.Target, *subjects.Target]{Items: []subjects.Target{target(0)}},
	}), prefix.Job(subjects.ValidateBatch, scope, "s-job"))
	must(t, err)
	fails(subjects.ValidateBatch, "s-job", subjects.Append(nil, &subjects.Job{Sealed: another, SealedTo: key.ID}), "job within the seal is not the ID in the subject")

	// In it.
	for id, inner := range map[subjects.ID]subjects.Job{
		"i-all":    {ID: "i-all", All: true},
		"i-filter": {ID: "i-filter", Filter: subjects.Filter{IDPrefix: "a"}},
	} {
		job := sealed(t, w, scope, subjects.ValidateBatch, inner, target(0))
		fails(subjects.ValidateBatch, id, subjects.Append(nil, &subjects.Job{ID: id, Sealed: job.Sealed, SealedTo: job.SealedTo, Submitted: job.Submitted}), "leave out all")
	}
	if _, err := w.Show(t.Context(), subjects.Target{Scope: scope, ID: "none"}, &subjects.JobShowRequest{Command: subjects.ValidateBatch}); err == nil {
		t.Error("job_show with a command and no body is answered")
	}
	if log := b.store.log(); len(log) != 0 {
		t.Errorf("written were %v", log)
	}
}

// An unreadable job keeps its name even after its dead letter is dropped.
func TestNameOfDroppedJob(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	name := subjects.Target{Scope: scope, ID: "j"}
	publish := func(body string) { b.publish(t, prefix.Job(subjects.ValidateBatch, scope, "j"), []byte(body)) }
	publish("{")
	told.await(t, name, func(st *subjects.JobStatus) bool { return st.Dead })
	_, err := w.Drop(t.Context(), name)
	must(t, err)
	const good = `{"items":[{"id":"a"}]}`
	publish(good)
	told.await(t, name, func(st *subjects.JobStatus) bool { return st.Conflicts == 1 })
	if _, err := w.Show(t.Context(), name, &subjects.JobShowRequest{Command: subjects.ValidateBatch, Posted: []byte(good)}); err == nil {
		t.Error("job_show accepts a job that was not done as the job of its name")
	}
}
