package testbed

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Tap records what a NATS server carries.
type Tap struct {
	conn *nats.Conn
	mark string // subject of messages that only ask whether all before them have come

	mu       sync.Mutex
	messages []*nats.Msg
	marks    chan struct{}
}

// NewTap listens to all subjects. The user of the connection must be allowed to, and to publish
// to an inbox.
func NewTap(t testing.TB, conn *nats.Conn) *Tap {
	t.Helper()
	tap := &Tap{conn: conn, mark: nats.NewInbox(), marks: make(chan struct{}, 1)}
	if _, err := conn.Subscribe(">", tap.take); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return tap
}

func (tap *Tap) take(msg *nats.Msg) {
	if msg.Subject == tap.mark {
		tap.marks <- struct{}{}
		return
	}
	tap.mu.Lock()
	defer tap.mu.Unlock()
	tap.messages = append(tap.messages, msg)
}

// Carried returns what the server has carried until now, in its order.
func (tap *Tap) Carried(t testing.TB) []*nats.Msg {
	t.Helper()
	if err := tap.conn.Publish(tap.mark, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-tap.marks: // it came after all others
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not send what it has carried")
	}
	tap.mu.Lock()
	defer tap.mu.Unlock()
	return tap.messages[:len(tap.messages):len(tap.messages)]
}
