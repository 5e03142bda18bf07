package natsconn

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/lifecycle"
)

// Arrivals bounds how long ago the server sent the messages that a connection delivers. A
// process that was stopped, or whose link stalled, finds old requests in its buffers. Their
// senders may have given up, and nothing in a request says so.
//
//	PING 1 ─► PONG 1 ─► PING 2 ─► PONG 2 ─► a message: it left the server after PING 1
//
// nats.go reads messages into a queue for each subscription, without waiting for the
// callbacks. So an answer counts only after all messages read before it were handed to their
// callbacks. A callback may just now have one of them, so the last ping does not count, but
// the one before it does. Delays between the sender and the server do not show.
type Arrivals struct {
	conn          *nats.Conn
	subscriptions *Subscriptions
	running       lifecycle.Turn

	mu           sync.Mutex
	last, before time.Time // when the last answered ping was sent, and the one before
}

const (
	pingEvery  = 250 * time.Millisecond
	pingWithin = 5 * time.Second
	queuePoll  = 5 * time.Millisecond
)

// Watch returns the Arrivals of subscriptions. It knows nothing before Run.
func Watch(subscriptions *Subscriptions) *Arrivals {
	return &Arrivals{conn: subscriptions.conn, subscriptions: subscriptions}
}

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
func (a *Arrivals) Run(ctx context.Context) { a.running.Do(ctx, func() { a.run(ctx) }) }

func (a *Arrivals) run(ctx context.Context) {
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
			a.reconnected(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// ping waits for its answer: while none comes, nothing else arrives either.
func (a *Arrivals) ping(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	sent := time.Now()
	if a.conn.FlushWithContext(ctx) == nil && a.subscriptions.handedOut(ctx) {
		a.answered(sent)
	}
}

// reconnected forgets the former connection. Nothing comes from that any more, except
// what it had delivered; the server sends the messages of the new one after this.
func (a *Arrivals) reconnected(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	now := time.Now()
	if a.subscriptions.handedOut(ctx) {
		a.answered(now)
		a.answered(now)
	}
}

func (a *Arrivals) answered(sent time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before, a.last = a.last, sent
}

// handedOut waits until all messages read so far have been handed to their callbacks. It
// reports false if ctx ends first.
func (s *Subscriptions) handedOut(ctx context.Context) bool {
	for _, q := range s.queues() {
		for !q.passed() {
			select {
			case <-time.After(queuePoll):
			case <-ctx.Done():
				return false
			}
		}
	}
	return true
}

// queue is a subscription, and how many of its messages had been read at some moment.
type queue struct {
	sub  *nats.Subscription
	read int64
}

func (s *Subscriptions) queues() (queues []queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		if read, err := messagesRead(k.sub); err == nil {
			queues = append(queues, queue{k.sub, read})
		}
	}
	return queues
}

// messagesRead counts the messages that the callback of a subscription has got and those
// that wait for it. A message whose callback runs counts as both.
func messagesRead(sub *nats.Subscription) (int64, error) {
	for {
		before, err := sub.Delivered()
		if err != nil {
			return 0, err
		}
		waiting, _, err := sub.Pending()
		if err != nil {
			return 0, err
		}
		if after, err := sub.Delivered(); err != nil || after == before { // none moved meanwhile
			return before + int64(waiting), err
		}
	}
}

// passed reports whether the callback has got all of them. A subscription that has ended
// passes on nothing more.
func (q queue) passed() bool {
	delivered, err := q.sub.Delivered()
	if err != nil || delivered >= q.read {
		return true
	}
	waiting, _, err := q.sub.Pending()
	return err != nil || waiting == 0
}
