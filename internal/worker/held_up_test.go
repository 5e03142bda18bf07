package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/config"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// A worker must not begin writes that were delayed on their way, or in the
// buffers of a paused worker, after their senders gave up: the senders' next
// writes must last.
func TestHeldUpWritesAreNotBegun(t *testing.T) {
	s := startServer(t, new(server.Options))
	wire := testbed.NewWire(t, s.Addr().String())
	start := func(url string) *bed {
		c, err := config.Load(nil, []string{"CREDBUS_DATA_DIR=" + t.TempDir(), "NATS_URL=" + url, "CREDBUS_STORE_TYPE=jetstream"})
		if err != nil {
			t.Fatal(err)
		}
		b := runBed(t, c)
		if b.client, err = nats.Connect(s.ClientURL()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.client.Close)
		return b
	}
	held := start("nats://" + wire.Address())
	held.put(t, "org:acme", "db", "before")
	held.put(t, "org:acme", "gone", "before")
	time.Sleep(time.Second) // in which it has had its pings

	wire.Stall()
	time.Sleep(time.Second) // what was under way still comes: the answer to a ping
	const timeout = time.Second
	replies, err := held.client.SubscribeSync(held.client.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	late := 0
	send := func(command subjects.Command, request subjects.Request) {
		t.Helper()
		late++
		subjects.EnvelopeOf(request).Timeout = timeout
		subjects.EnvelopeOf(request).RequestID = fmt.Sprint("late-", late)
		if err := held.client.PublishRequest(subjects.DefaultPrefix.Command(command, "org:acme"), replies.Subject, subjects.Append(nil, request)); err != nil {
			t.Fatal(err)
		}
	}
	send(subjects.Store, &subjects.StoreRequest{StoreItem: item("db", "late")})
	send(subjects.Delete, &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: "gone"}}})
	send(subjects.StoreBatch, &subjects.StoreBatchRequest{Items: []subjects.StoreItem{item("new", "late")}})
	time.Sleep(3 * time.Second)
	wire.Resume()
	for range late {
		msg, err := replies.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if told := failed(t, msg); told == nil || told.Code != subjects.StorageTimeout || told.OutcomeUnknown {
			t.Errorf("a delayed request got %v", told)
		}
	}
	for id, want := range map[subjects.ID]string{"db": "before", "gone": "before"} {
		if got, told := held.get(t, "org:acme", id); told != nil || got != want {
			t.Errorf("%s is %q, %v", id, got, told)
		}
	}
	if _, told := held.get(t, "org:acme", "new"); told == nil || told.Code != subjects.NotFound {
		t.Errorf("the delayed credential was stored: %v", told)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // it serves again
		request := &subjects.StoreRequest{StoreItem: item("db", "after")}
		request.Timeout = timeout
		if told := held.ask(t, subjects.Store, "org:acme", request, new(subjects.StoreReply)); told == nil {
			break
		} else if time.Now().After(end) {
			t.Fatalf("a new request got %v", told)
		}
	}
}
