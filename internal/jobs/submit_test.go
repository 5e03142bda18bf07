package jobs

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"credbus/subjects"
)

// Nothing that a submitter says to the stream may get there: no time of
// submission, no condition on jobs of others, no message id, no batch.
func TestSubmitTakesNoHeaders(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	w.stopTaking()
	w.goroutines.Wait() // so that jobs stay in the queue
	for name, value := range map[string]string{
		jetstream.TimeStampHeaer:                "2099-01-01T00:00:00Z",
		jetstream.SequenceHeader:                "1",
		jetstream.ExpectedLastSubjSeqSubjHeader: "cred.v1.job.*.org:other.>",
		jetstream.ExpectedLastSeqHeader:         "999999",
		jetstream.ExpectedLastMsgIDHeader:       "other",
		jetstream.ExpectedStreamHeader:          "OTHER",
		jetstream.MsgRollup:                     "all",
		jetstream.MsgTTLHeader:                  "1s",
		nats.MsgIdHdr:                           "same",
		jetstreamext.BatchIDHeader:              "b",
		nameHeader:                              "forged",
		"Nats-Schedule":                         "@every 1s",
		"Nats-Schedule-Target":                  "cred.v1.coherence.event.org:other.db",
	} {
		for range 2 {
			msg := nats.NewMsg(prefix.Job(subjects.ValidateBatch, scope, ""))
			msg.Data = []byte(`{"items":[{"id":"x"}]}`)
			msg.Header.Set(name, value)
			if answer := string(w.Submit(t.Context(), msg)); answer != `{"stream":"CREDBUS_JOBS","seq":1}` {
				t.Errorf("%s: %s", name, answer)
			}
			info, err := w.queue.Info(t.Context())
			must(t, err)
			queued, err := w.queue.GetMsg(t.Context(), info.State.LastSeq)
			must(t, err)
			for header, values := range queued.Header {
				if header != nameHeader || values[0] != "same" {
					t.Errorf("%s: the queue has %s: %q", name, header, values)
				}
			}
		}
	}
}

// The only condition that a worker can pass on is that no job of the name is queued.
func TestSubmitOfOtherCondition(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	for _, sequence := range []string{"5", "999999", "-1", "00", "x"} {
		msg := nats.NewMsg(prefix.Job(subjects.ValidateBatch, scope, "j"))
		msg.Data = []byte(`{"items":[{"id":"x"}]}`)
		msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, sequence)
		if answer := string(w.Submit(t.Context(), msg)); !strings.Contains(answer, `"code":400`) || !strings.Contains(answer, "may only be 0") || strings.Contains(answer, "10071") {
			t.Errorf("%s: %s", sequence, answer)
		}
	}
}

// A name that no status can have must be refused before the job is in the
// queue.
func TestSubmitOfLongName(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	msg := nats.NewMsg(prefix.Job(subjects.ValidateBatch, scope, subjects.ID(strings.Repeat("n", 57))))
	msg.Data = []byte(`{"items":[{"id":"x"}]}`)
	if answer := string(w.Submit(t.Context(), msg)); !strings.Contains(answer, "at most 56") {
		t.Error(answer)
	}
}

// The first job of a name is accepted, and the answer to the next reveals
// nothing about the queue.
func TestSubmitFirstOfItsName(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	w.stopTaking()
	w.goroutines.Wait()
	for i, want := range []string{`{"stream":"CREDBUS_JOBS","seq":1}`, "10071"} {
		msg := nats.NewMsg(prefix.Job(subjects.ValidateBatch, scope, "j"))
		msg.Data = []byte(`{"items":[{"id":"x"}]}`)
		msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
		if answer := string(w.Submit(t.Context(), msg)); !strings.Contains(answer, want) || strings.Contains(answer, "sequence") {
			t.Errorf("%d: %s", i, answer)
		}
	}
	if answer := string(w.Submit(t.Context(), nats.NewMsg("cred.v1.job.nonsense.org:acme"))); !strings.Contains(answer, `"code":400`) {
		t.Errorf("not a job: %s", answer)
	}
	b.server.Shutdown()
	ctx := t.Context()
	begun := time.Now()
	if answer := w.Submit(ctx, nats.NewMsg(prefix.Job(subjects.ValidateBatch, scope, "k"))); answer != nil && !strings.Contains(string(answer), `"code":503`) {
		t.Errorf("without a server, after %v: %s", time.Since(begun), answer)
	}
}

// A worker takes over the earlier stream, to which tenants published
// themselves, with its jobs. Tenants must no longer be able to publish there.
func TestFormerQueueIsTakenOver(t *testing.T) {
	b := newBed(t)
	_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "CREDBUS_JOBS", Subjects: []string{prefix.Jobs()}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
		Storage: jetstream.FileStorage, MaxBytes: 1 << 30, Duplicates: 100 * time.Millisecond, AllowAtomicPublish: true,
		RePublish: &jetstream.RePublish{Source: prefix.Jobs(), Destination: prefix.Coherence("job_accepted.>")},
	})
	must(t, err)
	waits := subjects.Target{Scope: scope, ID: "waits"}
	_, err = b.js.Publish(t.Context(), prefix.Job(subjects.ValidateBatch, scope, waits.ID), []byte(`{"items":[{"id":"x"}]}`))
	must(t, err)
	told := b.statuses(t)
	w := b.start(t, "w1", nil)
	if done := told.await(t, waits, ended); done.State != subjects.JobDone {
		t.Errorf("%+v", done)
	}
	if _, err := b.js.Publish(t.Context(), prefix.Job(subjects.ValidateBatch, scope, "late"), []byte(`{"items":[{"id":"x"}]}`)); err == nil {
		t.Error("a tenant still publishes into the stream")
	}
	info, err := w.queue.Info(t.Context())
	must(t, err)
	if source := info.Config.RePublish.Source; source != prefix.QueuedJob(prefix.Jobs()) {
		t.Errorf("accepted jobs are reported from %s", source)
	}
}
