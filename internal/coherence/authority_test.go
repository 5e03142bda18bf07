package coherence_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/coherence"
	"credbus/subjects"
)

// Replicas believe only the subjects of workers. A message that a client publishes on
// the public subject of an event reaches no replica, and events of workers still reach
// clients there.
func TestPublicEventsReachNoReplica(t *testing.T) {
	b := newStreamBed(t)
	s := b.open(t)
	f := follow(t, s, "r0")
	client := b.connect(t)
	heard, err := client.SubscribeSync("cred.v1.event.>")
	if err != nil {
		t.Fatal(err)
	}
	forged := subjects.DefaultPrefix.Event(streamKey("db").Scope, "db")
	for _, body := range [][]byte{
		[]byte("\xc1garbage"),
		subjects.Append(nil, &subjects.Event{Kind: coherence.Intent, Target: streamKey("db"), WriteID: "w"}),
		subjects.Append(nil, &subjects.Event{Kind: coherence.Ping, Replica: "ghost"}),
		subjects.Append(nil, &subjects.Event{Kind: subjects.EventDeleted, Target: streamKey("db")}),
	} {
		if err := client.Publish(forged, body); err != nil {
			t.Fatal(err)
		}
		if _, err := heard.NextMsg(15 * time.Second); err != nil { // so the server has it
			t.Fatal(err)
		}
	}
	at := appendEntry(t, s, subjects.EventStored, "db")
	if at.Seq != 1 {
		t.Errorf("an event is at %d of the stream, after what a client published", at.Seq)
	}
	if steps := f.delivered(t, at); len(steps) != 1 {
		t.Errorf("the replica got %d steps", len(steps))
	}
	msg, err := heard.NextMsg(15 * time.Second)
	if err != nil || msg.Subject != forged || msg.Header.Get("Nats-Sequence") != "1" {
		t.Errorf("the client hears %+v, %v", msg, err)
	}
}

// A stream of an earlier version takes the new subjects, and keeps its entries.
func TestStreamOfAnEarlierVersion(t *testing.T) {
	b := newStreamBed(t)
	if _, err := b.admin.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: streamName, Subjects: []string{"cred.v1.event.>", "cred.v1.coherence.log.>"}, Storage: jetstream.FileStorage,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.admin.Publish(t.Context(), "cred.v1.event.org:acme.db", nil); err != nil {
		t.Fatal(err)
	}
	s := b.open(t)
	follow(t, s, "r0")
	if at := appendEntry(t, s, subjects.EventStored, "db"); at.Seq != 2 {
		t.Errorf("an event is at %d of the stream", at.Seq)
	}
}
