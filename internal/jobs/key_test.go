package jobs

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"credbus/internal/seal"
	"credbus/subjects"
)

// TestResealKey opens the ring after the key that sealed it was removed. Where there is
// none, or one of another keyring, there is nothing to do.
func TestResealKey(t *testing.T) {
	b := newBed(t)
	before := b.keyring.PrimaryID()
	first := b.make(t, "w1", nil)
	reseal := func(stream string, keyring *seal.Keyring) error {
		return ResealKey(t.Context(), first.config.Conn, stream, keyring)
	}
	must(t, reseal("OTHER", b.keyring))
	id := first.SealKey().KeyID
	must(t, reseal(first.config.Stream, b.keyring))
	rotated, err := b.keyring.Rotated()
	must(t, err)
	other, err := seal.NewKeyring()
	must(t, err)
	must(t, reseal(first.config.Stream, other))
	must(t, reseal(first.config.Stream, rotated))
	b.keyring, err = rotated.Without(before)
	must(t, err)
	second := b.make(t, "w2", nil)
	if second.SealKey().KeyID == id {
		t.Error("the keyring was rotated, and jobs are still sealed to the old key")
	}
	if _, ok := second.ring.Load().key(id); !ok {
		t.Error("the jobs that wait cannot be opened")
	}
}

// TestKeyIsShared has two workers use one key. A worker with another keyring stops, and
// has changed nothing.
func TestKeyIsShared(t *testing.T) {
	b := newBed(t)
	first, second := b.make(t, "w1", nil), b.make(t, "w2", nil)
	one, other := first.SealKey(), second.SealKey()
	if one.KeyID != other.KeyID || !slices.Equal(one.Key, other.Key) {
		t.Error("two workers have two keys")
	}
	lost := newBed(t)
	for _, fleeting := range []bool{false, true} {
		config := first.config
		config.Keyring, config.Fleeting = lost.keyring, fleeting
		if _, err := New(t.Context(), config); !errors.Is(err, errForeignRing) || !fleeting && !strings.Contains(err.Error(), "keyring.file") {
			t.Errorf("fleeting %v: %v", fleeting, err)
		}
	}
	if again := b.make(t, "w3", nil).SealKey(); again.KeyID != one.KeyID {
		t.Error("a worker with another keyring changed the key")
	}
}

// TestFleetingKeyStaysInMemory starts a worker without a lasting keyring before one that
// has one: nothing of it is left.
func TestFleetingKeyStaysInMemory(t *testing.T) {
	b := newBed(t)
	lasting := b.keyring
	var err error
	b.keyring, err = seal.NewKeyring()
	must(t, err)
	fleeting := b.start(t, "memory", func(c *Config) { c.Fleeting = true })
	told := b.statuses(t)
	if done := told.await(t, submit(t, b, fleeting, "store_batch", job("j"), storeItems(1)...), ended); done.Succeeded != 1 {
		t.Errorf("%+v", done)
	}
	b.keyring = lasting
	b.make(t, "file", nil)
}

// TestKeyRotates rotates the keyring while a job waits that is sealed to the old key. The
// job is done, and the key goes when no job and no dead letter of it can be left.
func TestKeyRotates(t *testing.T) {
	b := newBed(t)
	before := b.make(t, "w1", nil)
	told := b.statuses(t)
	old := before.SealKey().KeyID
	waiting := submit(t, b, before, subjects.StoreBatch, job("waits"), storeItems(1)...)
	dead := sealed(t, before, scope, subjects.StoreBatch, job("dead"), storeItems(1)...)
	var err error
	b.keyring, err = b.keyring.Rotated()
	must(t, err)
	after := b.start(t, "w2", nil)
	if again := b.make(t, "w3", nil).SealKey().KeyID; again != after.SealKey().KeyID || again == old {
		t.Errorf("jobs are sealed to %s and %s, and were to %s", again, after.SealKey().KeyID, old)
	}
	if done := told.await(t, waiting, ended); done.Succeeded != 1 {
		t.Errorf("%+v", done)
	}
	awaitEmptyQueue(t, after)

	has := func() bool {
		t.Helper()
		must(t, after.pruneRing(t.Context()))
		must(t, after.refreshRing(t.Context()))
		_, ok := after.ring.Load().key(old)
		return ok
	}
	if !has() {
		t.Error("the key is gone, while jobs of it may still come")
	}
	after.stopTaking() // nothing looks at the clock any more
	after.goroutines.Wait()
	after.clock.set(after.lastPosted(after.ring.Load().keys[1]).Add(after.config.MaxDelay))
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
	if b.make(t, "w4", nil).SealKey().KeyID != after.SealKey().KeyID {
		t.Error("the current key went with it")
	}
}
