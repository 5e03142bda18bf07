package natsconn

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Arrivals bounds how long ago the server sent what a connection hands out. A process that
// was stopped, or whose link stood still, finds requests in its buffers whose senders are
// long gone, and nothing in them says so.
//
//	PING 1 ─► PONG 1 ─► PING 2 ─► PONG 2 ─► a message: it left the server after PING 1
//
// A message is handed out a little later than it is read, so it is the ping before the
// last answered one that counts. What took long on its way to the server does not show.
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

// Age is the longest that a message which is handed out now may have been under way since
// the server sent it: some hundred milliseconds, unless something stood still. It is zero
// before the first pings are answered. A clock that is set counts as time that has passed.
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
