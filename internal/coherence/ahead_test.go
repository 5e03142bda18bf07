package coherence_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/subjects"
)

// The store was read ahead of the log: a record found carries the revision of its
// intent, and is not cached before the intent is applied.
func TestStoreReadAheadOfTheLog(t *testing.T) {
	run(t, 2, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		lagging := replicas[1]
		token := mustToken(t, lagging, key)
		log.Hold("r1")
		var announced subjects.Revision
		_, _, err := replicas[0].Write(t.Context(), key, "w1", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
			announced = intent
			return stored(ctx, intent)
		})
		if err != nil {
			t.Fatal(err)
		}
		if at := lagging.Including(announced); at != announced || at.Compare(lagging.Applied()) <= 0 {
			t.Errorf("the record of the write at %s has revision %s", announced, at)
		}
		if lagging.Fill(key, token, coherence.Answer{Revision: announced}, func() { t.Error("filled") }) || lagging.Refused() != 1 {
			t.Error("a fill from ahead of the log is not refused")
		}
		if end, err := lagging.End(t.Context(), time.Second); err != nil || end.Compare(announced) <= 0 {
			t.Errorf("the log ends at %s, %v; the write began at %s", end, err, announced)
		}
		log.Release()
		synctest.Wait()
		if at := lagging.Including(announced); at != lagging.Applied() {
			t.Errorf("an applied record has revision %s, want %s", at, lagging.Applied())
		}
		if !lagging.Fill(key, mustToken(t, lagging, key), coherence.Answer{Revision: announced}, func() {}) {
			t.Error("an applied record is not cached")
		}
	})
}

// A store that was written under another log has records whose intents never come.
// They are cached like any other, and no client waits for them.
func TestRecordOfAnotherLog(t *testing.T) {
	run(t, 1, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		foreign := subjects.Revision{Stream: r.Applied().Stream + 1, Seq: 7}
		if at := r.Including(foreign); at != r.Applied() {
			t.Errorf("it has revision %s", at)
		}
		if !r.Fill(key, mustToken(t, r, key), coherence.Answer{Revision: foreign}, func() {}) {
			t.Error("it is not cached")
		}
	})
}
