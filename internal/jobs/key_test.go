package jobs

import (
	"errors"
	"testing"

	"credbus/subjects"
)

// TestKeyRotates rotates the keyring while a job sealed to the old key waits.
// The job must still be done, and the key must go once no job and no dead
// letter can need it.
func TestKeyRotates(t *testing.T) {
	b := newBed(t)
	current := func(w *worker) string { return w.config.Keys.Current().ID }
	before := b.make(t, "w1", nil)
	told := b.statuses(t)
	old := current(before)
	waiting := submit(t, b, before, subjects.StoreBatch, job("waits"), storeItems(1)...)
	dead := sealed(t, before, scope, subjects.StoreBatch, job("dead"), storeItems(1)...)
	var err error
	b.keyring, err = b.keyring.Rotated()
	must(t, err)
	after := b.start(t, "w2", nil)
	if again := current(b.make(t, "w3", nil)); again != current(after) || again == old {
		t.Errorf("jobs are sealed to %s and %s, before to %s", again, current(after), old)
	}
	if done := told.await(t, waiting, ended); done.Succeeded != 1 {
		t.Errorf("%+v", done)
	}
	awaitEmptyQueue(t, after)

	has := func() bool {
		t.Helper()
		must(t, after.pruneKeys(t.Context()))
		must(t, after.config.Keys.Refresh(t.Context()))
		_, ok := after.config.Keys.Key(old)
		return ok
	}
	if !has() {
		t.Error("the key is gone, while jobs of it may still come")
	}
	after.stopTaking() // the look at the streams is off now
	after.goroutines.Wait()
	after.clock.set(after.lastPosted(after.config.Keys.All()[1]).Add(after.config.MaxDelay))
	letter := &subjects.DeadJob{Status: subjects.JobStatus{Target: subjects.Target{Scope: scope, ID: "dead"}, Dead: true}, Body: subjects.Append(nil, &dead)}
	must(t, after.letters.put(t.Context(), letter, 1<<20))
	if !has() {
		t.Error("the key is gone, and with it a dead letter")
	}
	if _, err := after.Drop(t.Context(), letter.Status.Target); err != nil && !errors.Is(err, errNoJob) {
		t.Error(err)
	}
	if has() {
		t.Error("the key is kept for ever")
	}
	if current(b.make(t, "w4", nil)) != current(after) {
		t.Error("the current key went with it")
	}
}
