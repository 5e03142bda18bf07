package worker

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// The answer to a job may go only to an inbox: a stream would send its
// acknowledgement to any subject, with the rights of the account. Headers for
// streams must have no effect.
func TestJobRepliesGoToInboxes(t *testing.T) {
	b := newBed(t)
	client := connect(t, b.server.ClientContext())
	b.put(t, "org:other", "db", "value")
	js, err := jetstream.New(connect(t, b.server.WorkerContext()))
	if err != nil {
		t.Fatal(err)
	}
	state := func() map[string]uint64 {
		t.Helper()
		last := make(map[string]uint64)
		streams := js.ListStreams(t.Context())
		for info := range streams.Info() {
			last[info.Config.Name] = info.State.LastSeq
		}
		if err := streams.Err(); err != nil {
			t.Fatal(err)
		}
		return last
	}
	seen := record(t, b)
	before, counted := state(), b.refusals(t)
	replies := []string{
		"$JS.API.STREAM.DELETE.CREDBUS_JOBS", "$JS.API.STREAM.PURGE.CREDBUS_JOBS", "$JS.API.STREAM.DELETE.CREDBUS",
		"$KV.CREDBUS_JOBS_KEYS.ring", "cred.v1.coherence.deployment", "cred.v1.coherence.event.org:other.db", "cred.v1.coherence.log.flush",
		"cred.v1.coherence.job.org:other.victim", "cred.v1.coherence.queue.store_batch.org:other.onboarding-0", "cred.v1.job.store_batch.org:other.onboarding-0",
		"cred.v1.delete.org:other", "_INBOX", "_INBOXX.a", ">", "*",
	}
	headers := []nats.Header{
		nil,
		{"Nats-Batch-Id": {"x"}, "Nats-Batch-Sequence": {"1"}},
		{"Nats-Schedule": {"@every 1s"}, "Nats-Schedule-Target": {"cred.v1.coherence.log.flush"}},
	}
	for _, header := range headers {
		for _, reply := range replies {
			msg := &nats.Msg{Subject: subjects.DefaultPrefix.Job(subjects.ValidateBatch, "org:acme", "j"), Reply: reply, Header: header, Data: []byte(`{"items":[{"id":"x"}]}`)}
			if err := client.PublishMsg(msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitFor(t, "all refusals to be counted", func() bool {
		return b.refusals(t).RefusedReplies-counted.RefusedReplies == int64(len(headers)*(len(replies)-refusedByServer(replies)))
	})
	for _, msg := range seen.Carried(t) {
		if slices.Contains(replies, msg.Subject) {
			t.Errorf("%q was published to %s", msg.Data, msg.Subject)
		}
	}
	for name, last := range state() {
		if name != "CREDBUS" && last != before[name] { // which has the pings of the worker
			t.Errorf("%s grew from %d to %d", name, before[name], last)
		}
	}
	if value, told := b.get(t, "org:other", "db"); told != nil || value != "value" {
		t.Errorf("%q, %v", value, told)
	}
}
