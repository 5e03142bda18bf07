package natsconn

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Arrivals bounds how long ago the server sent the messages that a connection delivers. A
// process that was stopped, or whose link stalled, finds old requests in its buffers. Their
// senders may have given up, and nothing in a request says so.
//
//	PING 1 ─► PONG 1 ─► PING 2 ─► PONG 2 ─► a message: it left the server after PING 1
//
// nats.go delivers a message a little later than it reads it, so the ping before the last
// answered one counts. Delays between the sender and the server do not show.
type Arrivals struct {
	conn *nats.Conn

	mu           sync.Mutex
	last, before time.Time // when the last answered ping was sent, and the one before
}

const (
	pingEvery  = 250 * time.Millisecond
	pingWithin = 5 * time.Second
)

// Watch returns the Arrivals of a connection. They know nothing before Run.
func Watch(conn *nats.Conn) *Arrivals { return &Arrivals{conn: conn} }

// Age is an upper bound on the time since the server sent a message that is delivered now:
// some hundred milliseconds, more after a stall. It is zero before the first two pings are
// answered. A wall clock that jumps ahead counts as elapsed time.
func (a *Arrivals) Age() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.before.IsZero() {
		return 0
	}
	now := time.Now()
	// The monotonic clock stands still while the machine sleeps.
	return max(now.Sub(a.before), now.Round(0).Sub(a.before.Round(0)))
}

// Run pings until ctx ends.
func (a *Arrivals) Run(ctx context.Context) {
	status := a.conn.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer a.conn.RemoveStatusListener(status)
	ticks := time.NewTicker(pingEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			a.ping(ctx)
		case _, open := <-status:
			if !open { // the connection is closed
				return
			}
			now := time.Now()
			a.answered(now) // nothing comes from the former connection any more,
			a.answered(now) // and what the next one brings is sent after this
		case <-ctx.Done():
			return
		}
	}
}

// ping waits for its answer: while there is none, nothing else arrives either.
func (a *Arrivals) ping(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	sent := time.Now()
	if a.conn.FlushWithContext(ctx) == nil {
		a.answered(sent)
	}
}

func (a *Arrivals) answered(sent time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before, a.last = a.last, sent
}
