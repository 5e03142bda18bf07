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

// wrote carries out a write on r and returns the revision of its intent.
func wrote(t *testing.T, r replica, write string, kind subjects.EventKind) (intent subjects.Revision) {
	t.Helper()
	_, _, err := r.Write(t.Context(), key, write, func(_ context.Context, at subjects.Revision) (coherence.Commit, error) {
		intent = at
		return coherence.Commit{Kind: kind, Version: "of " + write}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return intent
}

func record(at subjects.Revision) coherence.Answer {
	return coherence.Answer{Asked: time.Now(), Revision: at}
}

func absent(r replica) coherence.Answer {
	return coherence.Answer{Asked: time.Now(), Revision: r.Applied(), Absent: true}
}

const lag = 3 * time.Second

// An eventually consistent read after done: a store that answers from a copy may, for a
// while, answer with the state before a finished write.
func TestEventuallyConsistentRead(t *testing.T) {
	runWith(t, 2, coherence.Config{Lag: lag}, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		reader := replicas[1]
		expect := func(what string, answer coherence.Answer, want bool) {
			t.Helper()
			if got := reader.Settled(key, answer); got != want {
				t.Errorf("%s counts as an answer: %v, want %v", what, got, want)
			}
		}
		first := wrote(t, replicas[0], "w1", subjects.EventStored)
		expect("what a store says that has not heard of the create", absent(reader), false)
		expect("what was created", record(first), true)
		second := wrote(t, replicas[0], "w2", subjects.EventStored)
		expect("what was replaced", record(first), false)
		expect("what replaced it", record(second), true)
		third := wrote(t, replicas[0], "w3", subjects.EventDeleted)
		expect("what was deleted", record(second), false)
		expect("that it is gone", absent(reader), true)
		// A write that changed nothing makes no record outdated.
		wrote(t, replicas[0], "w4", coherence.Unchanged)
		expect("that it is gone, after a write that changed nothing", absent(reader), true)
		expect("what was deleted, after a write that changed nothing", record(third), true)

		time.Sleep(lag - time.Nanosecond)
		expect("what was deleted, at the end of the lag", record(second), false)
		time.Sleep(time.Nanosecond)
		expect("what was deleted, after the lag", record(second), true)
		wrote(t, replicas[0], "w5", subjects.EventStored)
		time.Sleep(lag)
		expect("that it is missing, after the lag", absent(reader), true)
	})
}

// The store takes overlapping writes in another order than the log: nobody knows which
// came last. So neither is cached while the store may lag, and both may be after that.
func TestOverlappingWritesInTheStoresOrder(t *testing.T) {
	for _, firstEndsFirst := range []bool{true, false} {
		runWith(t, 3, coherence.Config{Lag: lag}, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
			reader := replicas[2]
			intents, release, ended := map[string]subjects.Revision{}, map[string]chan struct{}{}, map[string]chan struct{}{}
			before := wrote(t, replicas[0], "w0", subjects.EventStored)
			for i, write := range []string{"w1", "w2"} {
				go_, end := make(chan struct{}), make(chan struct{})
				release[write], ended[write] = go_, end
				go func() {
					defer close(end)
					_, _, err := replicas[i].Write(t.Context(), key, write, func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
						intents[write] = intent
						<-go_
						return stored(ctx, intent)
					})
					if err != nil {
						t.Error(err)
					}
				}()
				synctest.Wait()
			}
			order := []string{"w1", "w2"}
			if !firstEndsFirst {
				order = []string{"w2", "w1"}
			}
			for _, write := range order {
				close(release[write])
				<-ended[write]
			}
			synctest.Wait()
			refused := func(what string, answer coherence.Answer, want bool) {
				t.Helper()
				if got := !reader.Settled(key, answer); got != want {
					t.Errorf("ended in order %v: %s is refused: %v, want %v", order, what, got, want)
				}
			}
			refused("what was before both", record(before), true)
			refused("an absence", absent(reader), true)
			for _, write := range order {
				refused("what "+write+" wrote", record(intents[write]), true)
			}
			time.Sleep(lag)
			for _, write := range order {
				refused("after the lag, what "+write+" wrote", record(intents[write]), false)
			}
			// The next write comes after both, and only this one counts.
			next := wrote(t, replicas[0], "w3", subjects.EventStored)
			for _, write := range order {
				if reader.Settled(key, record(intents[write])) {
					t.Errorf("ended in order %v: what %s wrote is not refused after another write", order, write)
				}
			}
			if !reader.Settled(key, record(next)) {
				t.Error("what was written last is refused")
			}
		})
	}
}

// While a write is under way, no answer of a store that lags is settled: the next answer
// may not show that write.
func TestLaggingAnswerDuringAWrite(t *testing.T) {
	runWith(t, 2, coherence.Config{Lag: lag}, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		reader := replicas[1]
		_, _, err := replicas[0].Write(t.Context(), key, "w1", func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
			synctest.Wait()
			if reader.Settled(key, record(intent)) {
				t.Error("an answer during a write is settled")
			}
			return stored(ctx, intent)
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// An answer is as old as its question, however long it took.
func TestLaggingAnswerThatTookLong(t *testing.T) {
	runWith(t, 2, coherence.Config{Lag: lag}, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		reader := replicas[1]
		before := wrote(t, replicas[0], "w1", subjects.EventStored)
		wrote(t, replicas[0], "w2", subjects.EventStored)
		old := record(before)
		time.Sleep(lag + time.Second)
		if reader.Settled(key, old) {
			t.Error("an answer from before a write is settled once the lag has passed")
		}
	})
}

// A replica that starts on a log which replaced another does not know earlier writes.
func TestLaggingAnswerAfterAnotherLog(t *testing.T) {
	const long = time.Minute // longer than keys are held
	runWith(t, 1, coherence.Config{Lag: long}, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		before := wrote(t, replicas[0], "w1", subjects.EventStored)
		log.Recreate()
		time.Sleep(30 * time.Second)
		if replicas[0].Settled(key, record(before)) {
			t.Error("an answer is settled, though the writes of the former log are not known")
		}
	})
}
