package handler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/limits"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// Refusals that are held back are answered at the end, and when the handler closes.
func TestRefusalsHeldBack(t *testing.T) {
	const asked = 400
	b := newBed(t, memory.New(), func(c *Config) {
		c.Limits = limits.New(limits.Config{Bytes: []limits.Rule{{Pattern: "org:*", Most: 1}}})
	})
	inbox := b.client.NewInbox()
	replies := make(chan *nats.Msg, 2*asked)
	if _, err := b.client.ChanSubscribe(inbox+".*", replies); err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		for n := range asked {
			if err := b.client.PublishRequest(subjects.DefaultPrefix.Command(subjects.Retrieve, "org:acme"), fmt.Sprint(inbox, ".", n), []byte(`{"id":"id"}`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	await := func(n int) {
		t.Helper()
		for range n {
			select {
			case msg := <-replies:
				if refused := refusal(t, msg); refused == nil || refused.Code != subjects.ResourceExhausted && refused.Code != subjects.NotFound {
					t.Fatalf("%v", refused)
				}
			case <-time.After(requestTimeout):
				t.Fatal("a refusal never came")
			}
		}
	}
	begun := time.Now()
	ask()
	await(asked)
	if took := time.Since(begun); took < limits.HeldBack {
		t.Errorf("nothing was held back: all refusals came within %v", took)
	}
	ask()
	if err := b.client.Flush(); err != nil {
		t.Fatal(err)
	}
	await(50) // the worker is at it
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(asked - 50)
}

// Refusals of what is malformed, of what names its scope in the body, and of what has large headers
// are under the limits, too.
func TestNoWayRoundTheLimits(t *testing.T) {
	for name, send := range map[string]func(n int) *nats.Msg{
		"a malformed subject": func(int) *nats.Msg { return nats.NewMsg("cred.v1.retrieve.org:acme.bad") },
		"a scope in the body": func(int) *nats.Msg {
			msg := nats.NewMsg("cred.v1.describe.org:other")
			msg.Data = []byte(`{"scope":"org:other/team:x","id":"id"}`)
			return msg
		},
		"large headers": func(n int) *nats.Msg {
			msg := nats.NewMsg("cred.v1.describe.org:headers")
			msg.Data = []byte(`{"id":"id"}`)
			msg.Header.Set("Any", strings.Repeat("x", 100<<10))
			return msg
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, memory.New(), func(c *Config) {
				c.Limits = limits.New(limits.Config{
					Requests: []limits.Rule{{Pattern: "org:acme", Most: 1}, {Pattern: "org:other/team:x", Most: 1}},
					Bytes:    []limits.Rule{{Pattern: "org:headers", Most: 1000}},
				})
			})
			limited := 0
			for n := range 20 {
				msg, err := b.client.RequestMsg(send(n), requestTimeout)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(msg.Data), "limits.") {
					limited++
				}
			}
			if limited < 17 { // the pace lets one pass each second
				t.Errorf("%d of 20 requests were refused by the limit", limited)
			}
		})
	}
}
