package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/subjects"
)

// follow pulls events one at a time, and fails the test when none comes.
func follow(t *testing.T, ctx context.Context, c *client.Client, scope client.Scope) (next func() (client.Event, error)) {
	t.Helper()
	events, err := c.Events(ctx, scope)
	if err != nil {
		t.Fatal(err)
	}
	type received struct {
		event client.Event
		err   error
	}
	pull, stop := iter.Pull2(events)
	t.Cleanup(stop)
	return func() (client.Event, error) {
		t.Helper()
		got := make(chan received, 1)
		go func() {
			event, err, ok := pull()
			if !ok {
				err = errEnded
			}
			got <- received{event, err}
		}()
		select {
		case r := <-got:
			return r.event, r.err
		case <-time.After(10 * time.Second):
			t.Fatal("no event came")
			panic("unreachable")
		}
	}
}

var errEnded = errors.New("the loop ended")

func TestEvents(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	watcher := connect(t, workerURL, nil)
	ctx, cancel := context.WithCancel(t.Context())
	next := follow(t, ctx, watcher, scope)
	all := follow(t, ctx, watcher, "")

	below := scope + "/team:a"
	first := store(t, c, scope, "a", "s3cret", nil)
	store(t, c, scope+"x", "sibling", "s3cret", nil)
	second := store(t, c, below, "b", "s3cret", nil)
	if err := c.Delete(t.Context(), scope, "a", nil); err != nil {
		t.Fatal(err)
	}
	for i, want := range []client.Event{
		{Kind: client.EventStored, Target: client.Target{Scope: scope, ID: "a"}, Version: first},
		{Kind: client.EventStored, Target: client.Target{Scope: below, ID: "b"}, Version: second},
		{Kind: client.EventDeleted, Target: client.Target{Scope: scope, ID: "a"}},
	} {
		got, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if got.Kind != want.Kind || got.Target != want.Target || got.Version != want.Version || got.At.IsZero() || got.WriteID == "" {
			t.Errorf("event %d is %+v, want %+v", i, got, want)
		}
		if got.Revision.IsZero() {
			t.Errorf("event %d has no revision", i)
		}
	}
	for {
		event, err := all()
		if err != nil {
			t.Fatal(err)
		}
		if event.Scope == scope+"x" {
			break
		}
	}
	cancel()
	if _, err := next(); err != errEnded {
		t.Errorf("after the end of ctx: %v", err)
	}
}

func TestEventsEndWithTheClient(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	next := follow(t, t.Context(), c, scope)
	c.Close()
	if _, err := next(); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := next(); err != errEnded {
		t.Errorf("after the error: %v", err)
	}
}

func TestEventsOfAClosedConnection(t *testing.T) {
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, "", &client.Config{Conn: nc})
	next := follow(t, t.Context(), c, scopeOf(t))
	nc.Close()
	if _, err := next(); !errors.Is(err, client.ErrDisconnected) {
		t.Errorf("after the connection's end: %v", err)
	}
	if _, err := c.Events(t.Context(), "org:a"); !errors.Is(err, client.ErrDisconnected) {
		t.Errorf("on a closed connection: %v", err)
	}
}

// Leaving the loop unsubscribes, and so does the end of the context of a
// stream whose loop never ran.
func TestEventsUnsubscribe(t *testing.T) {
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c, scope := connect(t, "", &client.Config{Conn: nc}), scopeOf(t)
	store(t, c, scope, "a", "1", nil) // makes nats.go subscribe to its inbox
	before := nc.NumSubscriptions()

	left, err := c.Events(t.Context(), scope)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.Events(ctx, scope); err != nil {
		t.Fatal(err)
	}
	if got := nc.NumSubscriptions(); got != before+2 {
		t.Fatalf("%d subscriptions, want 2 more than %d", got, before)
	}
	store(t, c, scope, "a", "2", nil)
	for range left {
		break
	}
	cancel()
	for range left {
		t.Error("a loop that was left goes on")
	}
	deadline := time.Now().Add(10 * time.Second)
	for nc.NumSubscriptions() != before {
		if time.Now().After(deadline) {
			t.Fatalf("%d subscriptions are left of %d", nc.NumSubscriptions(), before)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestEventsAfterAReconnect(t *testing.T) {
	ns := startServer(t, &server.Options{})
	c := connect(t, ns.ClientURL(), &client.Config{
		NATSOptions: []nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0)},
	})
	next := follow(t, t.Context(), c, "org:a")
	restart(t, ns)
	gap, err := next()
	if err != nil || gap.Kind != client.EventGap || gap.Scope != "org:a" || gap.ID != "" {
		t.Fatalf("got %+v, %v", gap, err)
	}
	// Changes after the gap are seen.
	startWorker(t, ns.ClientURL())
	store(t, c, "org:a", "a", "1", nil)
	event, err := next()
	if err != nil || event.Kind != client.EventStored || event.ID != "a" {
		t.Errorf("got %+v, %v", event, err)
	}
}

// A loop that is too slow gets a gap each time that events are lost.
func TestEventsOfASlowLoop(t *testing.T) {
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const prefix = subjects.Prefix("slow.loop")
	c := connect(t, workerURL, &client.Config{Prefix: string(prefix), Retries: -1})
	next := follow(t, t.Context(), c, "org:a")
	sent := 0
	publish := func(n int) {
		t.Helper()
		for range n {
			sent++
			target := client.Target{Scope: "org:a", ID: client.ID(fmt.Sprint(sent))}
			event := &client.Event{Kind: client.EventStored, Target: target, Revision: subjects.Revision{Stream: 1, Seq: uint64(sent)}}
			if err := nc.Publish(prefix.Event(target.Scope, target.ID), subjects.Append(nil, event)); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		// The reply comes after the events on the client's connection.
		if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); !errors.Is(err, client.ErrNoWorkers) {
			t.Fatal(err)
		}
	}
	for range 2 {
		publish(5000)
		seen, gaps := 0, 0
		for seen < 4096 {
			event, err := next()
			if err != nil {
				t.Fatal(err)
			}
			if event.Kind == client.EventGap {
				gaps++
			} else {
				seen++
			}
		}
		if gaps != 1 {
			t.Errorf("%d gaps for %d lost events", gaps, 5000-seen)
		}
	}
	publish(1)
	if event, err := next(); err != nil || string(event.ID) != fmt.Sprint(sent) {
		t.Errorf("got %+v, %v", event, err)
	}
}

// A malformed event counts as a lost one.
func TestMalformedEvents(t *testing.T) {
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const prefix = subjects.Prefix("malformed.events")
	c := connect(t, workerURL, &client.Config{Prefix: string(prefix)})
	next := follow(t, t.Context(), c, "org:a")
	high := subjects.Revision{Stream: 9, Seq: 9}
	for name, body := range map[string][]byte{
		"garbage":         []byte("\xc1"),
		"empty":           nil,
		"another subject": subjects.Append(nil, &client.Event{Kind: client.EventStored, Target: client.Target{Scope: "org:a", ID: "b"}, Revision: high}),
		"no kind":         subjects.Append(nil, &client.Event{Target: client.Target{Scope: "org:a", ID: "a"}, Revision: high}),
	} {
		if err := nc.Publish(prefix.Event("org:a", "a"), body); err != nil {
			t.Fatal(err)
		}
		event, err := next()
		if err != nil || event.Kind != client.EventGap {
			t.Errorf("%s: got %+v, %v", name, event, err)
		}
	}
	if !c.Revision().IsZero() {
		t.Errorf("the client took over revision %v", c.Revision())
	}
}

// forged is a revision that no worker ever reaches.
var forged = subjects.Revision{Stream: 1 << 62, Seq: 1 << 62}

// A forged event changes no later read: neither its outcome, nor the revision that it
// carries.
func TestForgedEvent(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	version := store(t, c, scope, "a", "s3cret", nil)
	before := c.Revision()
	next := follow(t, t.Context(), c, scope)
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, revision := range []client.Revision{forged, {Stream: before.Stream, Seq: 1 << 62}} {
		msg := nats.NewMsg(subjects.DefaultPrefix.Event(scope, "a"))
		msg.Header.Set("Nats-Stream", "CREDBUS")
		msg.Header.Set("Nats-Sequence", fmt.Sprint(revision.Seq))
		msg.Data = subjects.Append(nil, &client.Event{
			Kind: client.EventStored, Target: client.Target{Scope: scope, ID: "a"}, Version: "9", Revision: revision,
		})
		if err := nc.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
		event, err := next()
		if err != nil || event.Revision != revision {
			t.Fatalf("got %+v, %v", event, err)
		}
		if c.Revision() != before {
			t.Errorf("the client is at %v after a forged event, and was at %v", c.Revision(), before)
		}
		cred, err := c.Retrieve(t.Context(), scope, "a", nil)
		if err != nil || cred.Version != version {
			t.Errorf("a read after it: %v, %v", cred, err)
		}
	}
}

// A job's status can be forged as easily. Only a worker's reply says whether a job has ended,
// and at which revision.
func TestForgedJobStatus(t *testing.T) {
	const id = client.ID("nightly-0")
	running := subjects.JobStatus{
		Target: client.Target{Scope: "org:a", ID: id}, Submission: "nightly", Parts: 1, Command: subjects.StoreBatch,
		State: client.JobRunning, Items: 1, Updated: time.Unix(1, 0),
	}
	var now atomic.Pointer[subjects.JobStatus]
	now.Store(&running)
	var cfg client.Config
	c := fakeWorker(t, &cfg, func(msg *nats.Msg) *nats.Msg {
		if msg.Reply == "" {
			return nil // a status: this subscription gets these, too
		}
		return answer(&subjects.JobReply{JobStatus: *now.Load()})
	})
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	watching, err := c.Submission("org:a", "nightly").Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publish := func(status subjects.JobStatus) {
		t.Helper()
		if err := nc.Publish(subjects.Prefix(cfg.Prefix).JobStatus("org:a", id), subjects.Append(nil, &status)); err != nil {
			t.Fatal(err)
		}
	}
	lie := running
	lie.State, lie.Reached, lie.Succeeded, lie.Updated = client.JobDone, forged, 1, time.Unix(2, 0)
	progress := running
	progress.Updated, progress.Items = time.Unix(3, 0), 2
	done := running
	done.State, done.Reached, done.Failed, done.Updated = client.JobDone, subjects.Revision{Stream: 1, Seq: 9}, 1, time.Unix(4, 0)

	yielded := 0
	var last client.SubmissionStatus
	for status, err := range watching {
		if err != nil {
			t.Fatal(err)
		}
		last = status
		switch yielded++; {
		case yielded == 1:
			publish(lie)
			publish(progress)
		case status.Items == 2 && !status.Ended():
			now.Store(&done)
			publish(done)
		}
	}
	if yielded < 3 || !last.Ended() || last.Failed != 1 || last.Succeeded != 0 {
		t.Errorf("after %d statuses: %+v", yielded, last)
	}
	if c.Revision() != done.Reached {
		t.Errorf("the client is at %v, and the job has reached %v", c.Revision(), done.Reached)
	}
}
