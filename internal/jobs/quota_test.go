package jobs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/limits"
	"credbus/subjects"
)

func (w *worker) submit(t *testing.T, scope subjects.Scope, id subjects.ID) string {
	t.Helper()
	msg := nats.NewMsg(prefix.Job(subjects.ValidateBatch, scope, id))
	msg.Data = []byte(`{"items":[{"id":"x"}]}`)
	if id != "" {
		msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	}
	return string(w.Submit(t.Context(), msg))
}

func TestQuotaOfJobs(t *testing.T) {
	b := newBed(t)
	limited := func(c *Config) {
		c.Queued = []limits.Rule{{Pattern: "org:*", Most: 6}, {Pattern: "org:acme/team:eng", Most: 4}}
	}
	w, other := b.start(t, "w1", limited), b.start(t, "w2", limited)
	for _, w := range []*worker{w, other} {
		w.stopTaking()
		w.goroutines.Wait() // so that jobs stay in the queue
	}
	const accepted = `{"stream":"CREDBUS_JOBS","seq":1}`
	mustAccept := func(w *worker, scope subjects.Scope, id subjects.ID) {
		t.Helper()
		if answer := w.submit(t, scope, id); answer != accepted {
			t.Fatalf("%s of %s: %s", id, scope, answer)
		}
	}
	mustRefuse := func(w *worker, scope subjects.Scope, id subjects.ID, who string) {
		t.Helper()
		answer := w.submit(t, scope, id)
		if !strings.Contains(answer, `"code":429`) || !strings.Contains(answer, who+" has the ") || !strings.Contains(answer, "submit it again in 1s or later") {
			t.Fatalf("%s of %s: %s", id, scope, answer)
		}
	}
	for range 2 {
		mustAccept(w, "org:acme/team:eng", "") // jobs without a name share a subject
		mustAccept(w, "org:acme/team:eng/service:api", "")
	}
	mustRefuse(w, "org:acme/team:eng", "", "org:acme/team:eng")
	mustRefuse(w, "org:acme/team:eng/service:api", "j", "org:acme/team:eng")
	mustRefuse(other, "org:acme/team:eng", "j", "org:acme/team:eng") // it has asked the stream
	for n := range 2 {
		mustAccept(w, "org:acme", subjects.ID(fmt.Sprint("j", n)))
	}
	mustRefuse(w, "org:acme", "j2", "org:acme")
	if answer := w.submit(t, "org:acme", "j0"); !strings.Contains(answer, "the queue has a job of this name") {
		t.Errorf("a job that is queued: %s", answer)
	}
	// Without that condition the queue takes a second job of the name, so it counts.
	msg := nats.NewMsg(prefix.Job(subjects.ValidateBatch, "org:acme", "j0"))
	msg.Data = []byte(`{"items":[{"id":"x"}]}`)
	if answer := string(w.Submit(t.Context(), msg)); !strings.Contains(answer, `"code":429`) {
		t.Errorf("a second job of a name: %s", answer)
	}
	mustAccept(w, "org:other", "j")
	mustAccept(w, "team:x", "j")

	// When jobs have ended, there is room again.
	must(t, w.queue.Purge(t.Context()))
	for end := time.Now().Add(20 * time.Second); w.submit(t, "org:acme/team:eng", "late") != accepted; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there is no room, although no job is queued")
		}
	}
}
