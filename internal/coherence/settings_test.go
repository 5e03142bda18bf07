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

// A key stays held for as long as the writer says, which may have other settings: while a
// change of settings rolls over the workers, some always have.
func TestHoldIsTheWriters(t *testing.T) {
	const long = 4 * hold
	runEach(t, []coherence.Config{{Hold: long}, {Hold: hold}}, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		writer, reader := replicas[0], replicas[1]
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _, _ = writer.Write(t.Context(), key, "w1", func(ctx context.Context, _ subjects.Revision) (coherence.Commit, error) {
				<-ctx.Done() // the writer hangs for as long as it may
				return coherence.Commit{Kind: coherence.Unchanged}, ctx.Err()
			})
		}()
		synctest.Wait()
		time.Sleep(long - time.Second)
		reader.Renew(t.Context())
		if _, ok := reader.Token(key, subjects.Revision{}); ok {
			t.Error("the reader lets go of a key before its writer does")
		}
		<-ended
		synctest.Wait()
		reader.Renew(t.Context())
		mustToken(t, reader, key)
	})
}

// A replica that comes up, and whose own writes are quicker, holds everything for as long
// as one may last that was announced before what it knows.
func TestLongestHoldAtAStart(t *testing.T) {
	const long = 4 * hold
	runEach(t, []coherence.Config{{Hold: long}, {Hold: hold}}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		log.Recreate() // what was announced in the log before is gone
		time.Sleep(2 * hold)
		for _, r := range replicas {
			r.Renew(t.Context())
			if _, ok := r.Token(key, subjects.Revision{}); ok {
				t.Errorf("%s lets go of a key that a write may still change", r.Name())
			}
		}
		time.Sleep(long)
		for _, r := range replicas {
			r.Renew(t.Context())
			mustToken(t, r, key)
		}
	})
}
