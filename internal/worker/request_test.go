package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// A request of any command that arrives after its deadline must not be
// executed.
func TestPastDeadline(t *testing.T) {
	b := newBed(t)
	const scope = "org:acme"
	b.hit(t, scope, "db", b.put(t, scope, "db", "kept").Revision)
	before := b.inStream(t)
	late := time.Now().Add(-time.Second).UnixMilli()
	for _, command := range subjects.Commands {
		text := fmt.Appendf(nil, `{"id":"db","value":"late","items":[{"id":"db","value":"late"}],"deadline":%d}`, late)
		transcoded, err := subjects.FromJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range [][]byte{text, transcoded} {
			told := failed(t, b.send(t, subjects.DefaultPrefix.Command(command, scope), body))
			if told == nil || told.Code != subjects.StorageTimeout || !told.Retryable || told.OutcomeUnknown {
				t.Errorf("%s: %v", command, told)
			}
		}
	}
	cached := retrieve("db")
	cached.Deadline = time.UnixMilli(late)
	wantCode(t, b.ask(t, subjects.Retrieve, scope, cached, new(subjects.RetrieveReply)), subjects.StorageTimeout)
	if after := b.inStream(t); after != before {
		t.Errorf("late requests wrote %d entries to the event stream", after-before)
	}
	if value, told := b.get(t, scope, "db"); told != nil || value != "kept" {
		t.Errorf("afterwards %q, %v", value, told)
	}
	request := retrieve("db")
	request.Deadline = time.Now().Add(time.Minute)
	b.must(t, subjects.Retrieve, scope, request, new(subjects.RetrieveReply))
}

func TestRepeatedRequestIsOneWrite(t *testing.T) {
	b := newBed(t)
	events := b.events(t, subjects.Root)
	const scope = "org:acme"
	request := &subjects.StoreRequest{Envelope: subjects.Envelope{RequestID: "request-1"}, StoreItem: item("db", "v")}
	request.CreateOnly = true
	first, again := new(subjects.StoreReply), new(subjects.StoreReply)
	b.must(t, subjects.Store, scope, request, first)
	b.must(t, subjects.Store, scope, request, again)
	if again.Version != first.Version {
		t.Errorf("repeated, it made version %s of %s", again.Version, first.Version)
	}
	request.RequestID = "request-2"
	wantCode(t, b.ask(t, subjects.Store, scope, request, again), subjects.AlreadyExists)

	items := []subjects.StoreItem{item("one", "1"), item("two", "2")}
	batch := &subjects.StoreBatchRequest{Envelope: subjects.Envelope{RequestID: "request-3"}, Items: items}
	var versions []string
	for range 2 {
		reply := new(subjects.StoreBatchReply)
		b.must(t, subjects.StoreBatch, scope, batch, reply)
		for _, result := range reply.Results {
			if result.Err != nil {
				t.Fatal(result.Err)
			}
			versions = append(versions, result.Reply.Version)
		}
	}
	if versions[0] != versions[2] || versions[1] != versions[3] {
		t.Errorf("repeated, a batch made versions %q", versions)
	}
	b.put(t, scope, "end", "v")
	// A repeated request sends the event of its write again, since the first
	// worker may have died before it could. The version shows that it is the
	// same write.
	versionsTold := make(map[subjects.ID]map[string]bool)
	for _, event := range eventsUntil(t, events, "end") {
		if versionsTold[event.ID] == nil {
			versionsTold[event.ID] = make(map[string]bool)
		}
		versionsTold[event.ID][event.Version] = true
	}
	for id, told := range versionsTold {
		if len(told) != 1 {
			t.Errorf("events tell of versions %v of %s", told, id)
		}
	}
	if len(versionsTold) != 4 {
		t.Errorf("events tell of %d credentials", len(versionsTold))
	}

	bad := &subjects.StoreRequest{Envelope: subjects.Envelope{RequestID: "a b"}, StoreItem: item("db", "v")}
	wantCode(t, b.ask(t, subjects.Store, scope, bad, first), subjects.InvalidArgument)
}

// events subscribes to the change events of a scope, as a client may.
func (b *bed) events(t *testing.T, scope subjects.Scope) *nats.Subscription {
	t.Helper()
	sub, err := b.client.SubscribeSync(subjects.DefaultPrefix.Events(scope))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.client.Flush(); err != nil {
		t.Fatal(err)
	}
	return sub
}

// eventsUntil reads events up to that of id.
func eventsUntil(t *testing.T, sub *nats.Subscription, id subjects.ID) (events []subjects.Event) {
	t.Helper()
	for {
		msg, err := sub.NextMsg(requestTimeout)
		if err != nil {
			t.Fatalf("after %d events: %v", len(events), err)
		}
		var event subjects.Event
		if err := subjects.Decode(msg.Data, &event); err != nil {
			t.Fatalf("%s: %v", msg.Subject, err)
		}
		if want := subjects.DefaultPrefix.Event(event.Scope, event.ID); msg.Subject != want {
			t.Errorf("event of %s came on %s", want, msg.Subject)
		}
		events = append(events, event)
		if event.ID == id {
			return events
		}
	}
}

// Every effective write must make one event, and nothing else may make any.
func TestEvents(t *testing.T) {
	b := newBed(t)
	all, eng := b.events(t, subjects.Root), b.events(t, "org:acme/team:eng")
	const scope, other subjects.Scope = "org:acme/team:eng", "org:acme/team:ops"
	begun := time.Now().Add(-time.Millisecond)
	var want []subjects.Event
	stored := func(scope subjects.Scope, id subjects.ID, version string) {
		want = append(want, subjects.Event{Kind: subjects.EventStored, Target: subjects.Target{Scope: scope, ID: id}, Version: version})
	}
	deleted := func(scope subjects.Scope, id subjects.ID) {
		want = append(want, subjects.Event{Kind: subjects.EventDeleted, Target: subjects.Target{Scope: scope, ID: id}})
	}
	first := b.put(t, scope, "db", "one")
	stored(scope, "db", first.Version)
	second := b.put(t, scope, "db", "two")
	stored(scope, "db", second.Version)
	stored(other, "db", b.put(t, other, "db", "three").Version)

	// Requests without an effect.
	refuse := func(code subjects.Code, change func(*subjects.StoreItem)) {
		t.Helper()
		i := item("db", "no")
		change(&i)
		wantCode(t, b.storeIt(t, scope, i), code)
	}
	refuse(subjects.AlreadyExists, func(i *subjects.StoreItem) { i.CreateOnly = true })
	refuse(subjects.VersionConflict, func(i *subjects.StoreItem) { i.Version = first.Version })
	refuse(subjects.NotFound, func(i *subjects.StoreItem) { i.UpdateOnly, i.ID = true, "gone" })
	refuse(subjects.InvalidArgument, func(i *subjects.StoreItem) { i.Data = nil })
	remove := func(id subjects.ID, version string) *subjects.Error {
		return b.ask(t, subjects.Delete, scope, &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: id}, Version: version}}, new(subjects.DeleteReply))
	}
	wantCode(t, remove("gone", ""), subjects.NotFound)
	wantCode(t, remove("db", first.Version), subjects.VersionConflict)
	b.must(t, subjects.ClearCache, scope, &subjects.ClearCacheRequest{}, new(subjects.ClearCacheReply))
	if _, told := b.get(t, scope, "db"); told != nil {
		t.Fatal(told)
	}

	if told := remove("db", second.Version); told != nil {
		t.Fatal(told)
	}
	deleted(scope, "db")
	batch := new(subjects.StoreBatchReply)
	exists := item("db", "no")
	exists.UpdateOnly = true
	b.must(t, subjects.StoreBatch, scope, &subjects.StoreBatchRequest{Items: []subjects.StoreItem{exists, item("b1", "v")}}, batch)
	wantCode(t, batch.Results[0].Err, subjects.NotFound)
	stored(scope, "b1", batch.Results[1].Reply.Version)
	stored(scope, "end", b.put(t, scope, "end", "v").Version)

	got := eventsUntil(t, all, "end")
	var last subjects.Revision
	for n, event := range got {
		if event.At.Before(begun) || event.At.After(time.Now()) || event.Revision.Compare(last) <= 0 || event.WriteID == "" || event.Replica == "" {
			t.Errorf("event %d: at %v, revision %v after %v, write %q of %q", n, event.At, event.Revision, last, event.WriteID, event.Replica)
		}
		last = event.Revision
		event.At, event.Revision, event.WriteID = time.Time{}, subjects.Revision{}, ""
		event.Replica = ""
		if n >= len(want) || event != want[n] {
			t.Errorf("event %d is %+v", n, event)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d events, want %d", len(got), len(want))
	}
	if below := eventsUntil(t, eng, "end"); len(below) != len(want)-1 {
		t.Errorf("the subscription of %s has %d events, want %d", scope, len(below), len(want)-1)
	}
}

// Requests before the stop of a worker are answered; later ones learn at once
// that nobody serves.
func TestDrain(t *testing.T) {
	b := newBed(t)
	// Each write has two seconds for its announcement, too little for hundreds
	// at once on a busy machine.
	const requests, items = 60, 2
	inbox := nats.NewInbox()
	replies, err := b.client.SubscribeSync(inbox + ".*")
	if err != nil {
		t.Fatal(err)
	}
	for n := range requests {
		request := new(subjects.StoreBatchRequest)
		for i := range items {
			request.Items = append(request.Items, item(subjects.ID(fmt.Sprintf("id-%d-%d", n, i)), strconv.Itoa(n)))
		}
		subject := subjects.DefaultPrefix.Command(subjects.StoreBatch, "org:acme")
		if err := b.client.PublishRequest(subject, inbox+"."+strconv.Itoa(n), subjects.Append(nil, request)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.client.Flush(); err != nil {
		t.Fatal(err)
	}
	// Close only the handler: the worker would close its embedded server too.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := b.handler.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.Request(subjects.DefaultPrefix.Command(subjects.Retrieve, "org:acme"), nil, requestTimeout); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after the end: %v", err)
	}
	answered := make(map[string]bool)
	for range requests {
		msg, err := replies.NextMsg(requestTimeout)
		if err != nil {
			t.Fatalf("%d of %d are answered: %v", len(answered), requests, err)
		}
		reply := new(subjects.StoreBatchReply)
		if err := subjects.Decode(msg.Data, reply); err != nil || len(reply.Results) != items {
			t.Fatalf("%q: %v", msg.Data, err)
		}
		for _, result := range reply.Results {
			if result.Err != nil {
				t.Error(result.Err)
			}
		}
		answered[msg.Subject] = true
	}
	if len(answered) != requests {
		t.Errorf("%d of %d are answered", len(answered), requests)
	}
	if err := b.handler.Close(ctx); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// A worker without time to stop abandons its requests, and says so.
func TestCloseThatRunsOutOfTime(t *testing.T) {
	b := newBed(t)
	for n := range 200 {
		request := &subjects.StoreRequest{StoreItem: item(subjects.ID(fmt.Sprintf("id-%d", n)), "v")}
		if err := b.client.PublishRequest(subjects.DefaultPrefix.Command(subjects.Store, "org:acme"), nats.NewInbox(), subjects.Append(nil, request)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.client.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.givenUp = true
	within(t, 10*time.Second, func() {
		for _, ctx := range []context.Context{ctx, ctx, t.Context()} {
			if err := b.Close(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("it says %v", err)
			}
		}
	})
}
