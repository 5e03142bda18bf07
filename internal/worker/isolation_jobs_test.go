package worker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// submitAll submits a job in each scope with its own credential, under the same
// ID: the status has that credential's version.
func (w *world) submitAll(t *testing.T) {
	t.Helper()
	for n := 0; n < len(w.scopes); n += ownEvery {
		w.submitTo(t, subjects.ValidateBatch, w.scopes[n], ownID(n), subjects.Target{ID: ownID(n)})
	}
	for n := 0; n < len(w.scopes); n += ownEvery {
		if done := w.awaitJob(t, w.scopes[n], ownID(n)); done.Succeeded != 1 {
			t.Fatalf("the job of %s is %s: %s", w.scopes[n], done.State, done.Reason)
		}
	}
}

// submitTo publishes a job with one item.
func (w *world) submitTo(t *testing.T, command subjects.Command, scope subjects.Scope, id subjects.ID, target subjects.Target) {
	t.Helper()
	switch command {
	case subjects.PatchBatch:
		subject, body := sealed(t, w.bed, command, scope, subjects.Job{ID: id, Submission: id}, subjects.PatchItem{Target: target, Data: subjects.Value([]byte("attack"))})
		w.publishJob(t, subject, body)
		return
	case subjects.StoreBatch:
		w.submit(t, scope, subjects.Job{ID: id, Submission: id}, subjects.StoreItem{Target: target, Data: subjects.Value([]byte("attack")), UpdateOnly: true})
		return
	}
	body := fmt.Appendf(nil, `{"batch":%q,"items":[{"scope":%q,"id":%q}]}`, id, target.Scope, target.ID)
	w.publishJob(t, subjects.DefaultPrefix.Job(command, scope, id), body)
}

// submitAttacks reaches for credentials by jobs: a job that names a credential
// of another scope must have the same outcome whether that exists or not.
func (w *world) submitAttacks(t *testing.T) {
	t.Helper()
	const every = 30 * ownEvery
	status := func(command subjects.Command, attacker subjects.Scope, id subjects.ID, target subjects.Target) string {
		w.attempts.Add(1)
		w.submitTo(t, command, attacker, id, target)
		done := w.awaitJob(t, attacker, id)
		// Twice: a replayed or resumed job reads what the first one left.
		w.submitTo(t, command, attacker, id, target)
		body := subjects.Append(nil, done)
		if leak := w.leak(&nats.Msg{Data: body}, attacker); leak != "" {
			w.leaks.Add(1)
			t.Errorf("%s job at %s: its status has %s", command, attacker, leak)
		}
		told := fmt.Sprint(done.State, done.Reason, done.Succeeded, done.Failed, done.Dead, done.Conflicts)
		for _, result := range done.Results {
			told += fmt.Sprintf(" %q %v %v", result.Version, result.Status, result.Err)
		}
		for _, name := range []string{string(target.Scope), string(target.ID)} {
			told = strings.ReplaceAll(told, name, "<>")
		}
		return told
	}
	jobs := 0
	for n := 0; n < len(w.scopes); n += every {
		there := subjects.Target{Scope: w.scopes[n], ID: ownID(n)}
		missing := subjects.Target{Scope: absent(there.Scope), ID: missID(n)}
		for relation, attacker := range w.wrong(there.Scope) {
			if relation == "ancestor" {
				continue // it may name what is below it
			}
			for _, command := range subjects.JobCommands {
				jobs++
				first := status(command, attacker, subjects.ID(fmt.Sprint("attack-there-", jobs)), there)
				second := status(command, attacker, subjects.ID(fmt.Sprint("attack-missing-", jobs)), missing)
				if first != second {
					w.leaks.Add(1)
					t.Errorf("a %s job at %s distinguishes %s from a missing one:\n%s\n%s", command, attacker, there, first, second)
				}
			}
			// The name of a job of another scope is free here, and reveals
			// nothing.
			w.attempts.Add(1)
			w.submitTo(t, subjects.ValidateBatch, attacker, there.ID, subjects.Target{ID: sharedID})
			if done := w.awaitJob(t, attacker, there.ID); done.Succeeded != 1 || done.Conflicts != 0 {
				w.leaks.Add(1)
				t.Errorf("a job of %s with the name of one of %s is %s, with %d conflicts: %s", attacker, there.Scope, done.State, done.Conflicts, done.Reason)
			}
			w.must(t, subjects.JobCancel, attacker, &subjects.JobRequest{Target: subjects.Target{ID: there.ID}}, new(subjects.JobReply))
		}
	}
}

// repeat uses one request id in scopes that are easily mixed up, for single stores and
// batches: it names a write of its own credential only.
func (w *world) repeat(t *testing.T) {
	t.Helper()
	const id, batchID, request = subjects.ID("repeated"), subjects.ID("repeated-batch"), "same-request"
	versions := make(map[subjects.Scope][2]string)
	for round := range 2 { // the second one repeats the first
		for _, scope := range alike {
			w.attempts.Add(2)
			one := new(subjects.StoreReply)
			w.must(t, subjects.Store, scope, &subjects.StoreRequest{
				StoreItem: subjects.StoreItem{Target: subjects.Target{ID: id}, Data: subjects.Value([]byte(scope)), CreateOnly: true},
				Envelope:  subjects.Envelope{RequestID: request},
			}, one)
			many := new(subjects.StoreBatchReply)
			w.must(t, subjects.StoreBatch, scope, &subjects.StoreBatchRequest{
				Items:    []subjects.StoreItem{{Target: subjects.Target{ID: batchID}, Data: subjects.Value([]byte(scope)), CreateOnly: true}},
				Envelope: subjects.Envelope{RequestID: request},
			}, many)
			if err := many.Results[0].Err; err != nil {
				t.Fatal(err)
			}
			got := [2]string{one.Version, many.Results[0].Reply.Version}
			if round == 0 {
				versions[scope] = got
			} else if got != versions[scope] {
				w.leaks.Add(1)
				t.Errorf("a repeated store at %s has the versions %q, and had %q", scope, got, versions[scope])
			}
		}
	}
	for _, scope := range alike {
		for _, id := range []subjects.ID{id, batchID} {
			w.attempts.Add(1)
			read := new(subjects.RetrieveReply)
			w.must(t, subjects.Retrieve, scope, &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: id}, Fresh: true}}, read)
			if value := read.Data[subjects.ValueName].Bytes(); string(value) != string(scope) {
				w.leaks.Add(1)
				t.Errorf("%s of %s is what %q stored under the same request id", id, scope, value)
			}
			w.must(t, subjects.Delete, scope, &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: id}}}, new(subjects.DeleteReply))
		}
	}
}

// alike are scopes that are easily confused.
var alike = []subjects.Scope{"org:a", "org:a2", "org:A", "org:a-x", "org:a/team:eng", "org:a/team:eng2", "org:a/team:ENG", "org:a2/team:eng"}

// listen writes and submits in scopes that are easily confused, and counts what
// the events, statuses and cache statistics of each reveal about the others.
func (w *world) listen(t *testing.T) {
	t.Helper()
	scopes := alike
	const id, prefix = subjects.ID("listened"), subjects.DefaultPrefix
	subscribe := func(subject string) *nats.Subscription {
		t.Helper()
		sub, err := w.client.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	events, statuses := make(map[subjects.Scope]*nats.Subscription), make(map[subjects.Scope]*nats.Subscription)
	for _, scope := range scopes {
		events[scope], statuses[scope] = subscribe(prefix.Events(scope)), subscribe(prefix.JobStatuses(scope))
	}
	for _, actor := range scopes {
		before := make(map[subjects.Scope]int64)
		for _, scope := range scopes {
			before[scope] = w.cached(t, scope)
		}
		w.hit(t, actor, id, w.put(t, actor, id, "v").Revision)
		for _, scope := range scopes {
			w.attempts.Add(1)
			if more := w.cached(t, scope) - before[scope]; more != 0 != scope.Contains(actor) {
				w.leaks.Add(1)
				t.Errorf("%s caches one more, and %s has %d more by cache_stats", actor, scope, more)
			}
		}
		w.submitTo(t, subjects.ValidateBatch, actor, id, subjects.Target{ID: id})
		w.awaitJob(t, actor, id)
		w.must(t, subjects.Delete, actor, &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: id}}}, new(subjects.DeleteReply))
	}
	for _, scope := range scopes {
		w.hears(t, events[scope], scope, scopes, func(data []byte) (subjects.Scope, bool) {
			var event subjects.Event
			if err := subjects.Decode(data, &event); err != nil {
				t.Fatal(err)
			}
			return event.Scope, event.Kind == subjects.EventDeleted
		})
		w.hears(t, statuses[scope], scope, scopes, func(data []byte) (subjects.Scope, bool) {
			var status subjects.JobStatus
			if err := subjects.Decode(data, &status); err != nil {
				t.Fatal(err)
			}
			return status.Scope, status.State.Ended()
		})
	}
}

// hears reads the messages of a subscription until it has the end of each
// expected actor. read returns the actor of a message, and whether it is the
// end.
func (w *world) hears(t *testing.T, sub *nats.Subscription, scope subjects.Scope, actors []subjects.Scope, read func([]byte) (subjects.Scope, bool)) {
	t.Helper()
	awaited := make(map[subjects.Scope]bool)
	for _, actor := range actors {
		if w.attempts.Add(1); scope.Contains(actor) {
			awaited[actor] = true
		}
	}
	for len(awaited) > 0 {
		msg, err := sub.NextMsg(requestTimeout)
		if err != nil {
			t.Fatalf("%s does not hear of %v: %v", sub.Subject, awaited, err)
		}
		about, end := read(msg.Data)
		if !scope.Contains(about) {
			w.leaks.Add(1)
			t.Errorf("%s hears of %s", sub.Subject, about)
		}
		if end {
			delete(awaited, about)
		}
	}
}

// cached returns how many entries of a scope the worker reports as cached.
func (w *world) cached(t *testing.T, scope subjects.Scope) int64 {
	t.Helper()
	for {
		stats := new(subjects.CacheStatsReply)
		w.must(t, subjects.CacheStats, scope, new(subjects.CacheStatsRequest), stats)
		if len(stats.Replicas) == 1 { // or it is late
			return stats.Replicas[0].Entries
		}
	}
}

// jobsUnharmed checks that the jobs of all scopes are unchanged.
func (w *world) jobsUnharmed(t *testing.T) {
	t.Helper()
	for n := 0; n < len(w.scopes); n += ownEvery {
		shown := new(subjects.JobReply)
		w.must(t, subjects.JobShow, w.scopes[n], &subjects.JobRequest{Target: subjects.Target{ID: ownID(n)}}, shown)
		if shown.State != subjects.JobDone || shown.Succeeded != 1 || shown.Conflicts != 0 {
			t.Errorf("the job of %s is %s, with %d conflicts", w.scopes[n], shown.State, shown.Conflicts)
		}
	}
}
