package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/subjects"
)

// TestEvents follows the changes made through either worker: each is reported once, in
// order, and without its value.
func TestEvents(t *testing.T) {
	ctx, b := newBed(t)
	c := connect(t, b)
	raw, err := b.nc.SubscribeSync(string(subjects.DefaultPrefix) + ".event.>")
	if err != nil {
		t.Fatal(err)
	}
	follower := connect(t, b)
	following, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	events, err := follower.Events(following, scope)
	if err != nil {
		t.Fatal(err)
	}

	type change struct {
		kind    subjects.EventKind
		id      client.ID
		version string
	}
	var made []change
	const atLeast, most = 20, 200
	for n := 1; ; n++ {
		id := client.ID(fmt.Sprintf("key-%d", n%3))
		made = append(made, change{client.EventStored, id, store(ctx, t, c, string(id), n)})
		if n%5 == 0 {
			if err := c.Delete(ctx, scope, id, nil); err != nil {
				t.Fatal(err)
			}
			made = append(made, change{client.EventDeleted, id, ""})
		}
		if n < atLeast {
			continue
		}
		served, err := b.served(ctx, string(subjects.Store))
		if err != nil {
			t.Fatal(err)
		}
		if served["worker-a"] > 0 && served["worker-b"] > 0 {
			t.Logf("changes=%d stores=%v", len(made), served)
			break
		}
		if n == most {
			t.Fatalf("after %d stores the workers have carried out %v", n, served)
		}
	}

	var told []change
	var last client.Revision
	for event, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if event.Scope != scope || event.Revision.Compare(last) <= 0 || event.At.IsZero() {
			t.Errorf("event %+v follows revision %v", event, last)
		}
		last = event.Revision
		told = append(told, change{event.Kind, event.ID, event.Version})
		if len(told) == len(made) {
			break
		}
	}
	if len(told) != len(made) {
		t.Fatalf("%d of %d changes were reported in time", len(told), len(made))
	}
	for i := range made {
		if told[i] != made[i] {
			t.Errorf("event %d is %+v, but the change was %+v", i, told[i], made[i])
		}
	}
	// Nobody else may publish here, so a read can check what an event says.
	follower.Observe(last)
	final := made[len(made)-1]
	cred, err := follower.Retrieve(ctx, scope, final.id, nil)
	if final.kind == client.EventDeleted && !errors.Is(err, client.ErrNotFound) || final.kind == client.EventStored && (err != nil || cred.Version != final.version) {
		t.Errorf("a read as of the last event, %+v: %v, %v", final, cred, err)
	}

	for range made {
		msg, err := raw.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(msg.Data, []byte(plain)) {
			t.Errorf("the event on %s holds a value", msg.Subject)
		}
	}
	if msg, err := raw.NextMsg(100 * time.Millisecond); err != nats.ErrTimeout {
		t.Errorf("more events than changes: %v, %v", msg, err)
	}
}
