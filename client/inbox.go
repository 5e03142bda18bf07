package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// inbox receives the replies to all requests of a client on one subscription. It does
// not use the one that nats.go makes for requests, because that cannot be renewed: once
// the server has refused it, no reply comes until the next reconnect.
//
//	first request ──► open ──► subscribe, and ask the server whether it may
//	refused (also later) ──► requests fail at once, with the permission that is missing
//	a request after refusalPause ──► open, under another name
type inbox struct {
	nc   *nats.Conn // set before the first request
	lost func()     // called when the connection was closed

	mu      sync.Mutex
	opening chan struct{}       // closed when the open that is under way has ended
	sub     *nats.Subscription  // nil before the first request, and after a refusal
	subject string              // of sub, or of the one that opens
	prefix  string              // of the subjects of replies
	waiting map[string]awaited  // by the subject of the reply
	given   [mostGivenUp]string // the last that abandon was called for
	next    int                 // of given
	refusal error               // why there is no sub
	again   time.Time           // when to try again after refusal
	closed  bool
}

// awaited says who gets a reply: exactly one field is set.
type awaited struct {
	replies chan<- *nats.Msg
	late    func() // called instead, after the request has ended
}

// mostGivenUp bounds the requests that have ended and whose late replies are counted.
const mostGivenUp = 1024

// refusalPause is how long requests fail at once after a refusal. The next one after
// that asks the server again.
const refusalPause = 250 * time.Millisecond

func newInbox(lost func()) *inbox {
	return &inbox{lost: lost, waiting: make(map[string]awaited)}
}

// open subscribes unless that was done. If it fails, nothing was sent.
func (i *inbox) open(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for i.opening != nil {
		opened := i.opening
		i.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
		}
		i.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	switch {
	case i.closed:
		return ErrClosed
	case i.sub != nil:
		return nil
	case i.refusal != nil && time.Now().Before(i.again):
		return i.refusal
	}
	return i.subscribeLocked(ctx)
}

// subscribeLocked gives up the lock while it waits for the server.
func (i *inbox) subscribeLocked(ctx context.Context) error {
	opening := make(chan struct{})
	defer close(opening)
	// A new name, so that a late report about an earlier subscription is not mistaken for
	// one about this.
	prefix := i.nc.NewInbox() + "."
	subject := prefix + "*"
	i.opening, i.prefix, i.subject = opening, prefix, subject
	i.mu.Unlock()
	sub, err := i.subscribe(ctx, subject)
	i.mu.Lock()
	i.opening = nil
	switch {
	case err != nil:
	case i.closed:
		err = ErrClosed
	case i.subject != subject:
		err = i.refusal // refuse was called meanwhile
	default:
		i.sub, i.refusal = sub, nil
		return nil
	}
	if sub != nil {
		_ = sub.Unsubscribe() // fails on a closed connection, which has no subscriptions
	}
	return err
}

func (i *inbox) subscribe(ctx context.Context, subject string) (*nats.Subscription, error) {
	before := i.nc.LastError()
	sub, err := i.nc.Subscribe(subject, i.receive)
	if err != nil {
		return nil, fmt.Errorf("%w: subscribe to %s: %w", ErrDisconnected, subject, err)
	}
	sub.SetClosedHandler(i.ended)
	if err := i.nc.FlushWithContext(ctx); err != nil {
		return sub, fmt.Errorf("%w: subscribe to %s: %w", ErrDisconnected, subject, err)
	}
	// The server reports a refusal before it answers the flush.
	if after := i.nc.LastError(); after != before {
		if refused, ok := refusedSubject(after); ok && i.refuse(refused) {
			return sub, deniedInbox(refused)
		}
	}
	return sub, nil
}

// send publishes a request. Its reply goes to replies, which must have room for it,
// unless forget is called first.
func (i *inbox) send(msg *nats.Msg, replies chan<- *nats.Msg) error {
	var number [16]byte
	digits := strconv.AppendUint(number[:0], rand.Uint64(), 36)
	i.mu.Lock()
	msg.Reply = i.prefix + string(digits)
	i.waiting[msg.Reply] = awaited{replies: replies}
	i.mu.Unlock()
	if err := i.nc.PublishMsg(msg); err != nil {
		i.forget(msg.Reply)
		return err
	}
	return nil
}

// forget gives up the reply on a subject.
func (i *inbox) forget(reply string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.waiting, reply)
}

// abandon gives up a reply, and calls late if it still comes.
func (i *inbox) abandon(reply string, late func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.waiting[reply]; !ok {
		return // it has come
	}
	delete(i.waiting, i.given[i.next])
	i.given[i.next] = reply
	i.next = (i.next + 1) % mostGivenUp
	i.waiting[reply] = awaited{late: late}
}

// request sends a request and waits for its reply.
func (i *inbox) request(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	replies := make(chan *nats.Msg, 1)
	if err := i.send(msg, replies); err != nil {
		return nil, err
	}
	defer i.forget(msg.Reply)
	select {
	case reply := <-replies:
		if noResponders(reply) {
			return nil, nats.ErrNoResponders
		}
		return reply, nil
	case <-ctx.Done():
		_ = i.notice() // the next request reports it
		return nil, ctx.Err()
	}
}

// receive hands a reply to the request that waits for it. If that has ended, the reply is
// wiped, because it may hold a value.
func (i *inbox) receive(msg *nats.Msg) {
	i.mu.Lock()
	awaited := i.waiting[msg.Subject]
	delete(i.waiting, msg.Subject)
	if awaited.replies != nil {
		awaited.replies <- msg // under the lock, so that nothing comes after forget
	}
	i.mu.Unlock()
	if awaited.replies == nil {
		clear(msg.Data)
	}
	if awaited.late != nil {
		awaited.late()
	}
}

// noResponders reports whether the server answered, because nobody else listens.
func noResponders(reply *nats.Msg) bool {
	const status, noResponders = "Status", "503"
	return len(reply.Data) == 0 && reply.Header.Get(status) == noResponders
}

// refuse notes that NATS refuses a subject, and reports whether that is the inbox.
func (i *inbox) refuse(subject string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if subject != i.subject {
		return false
	}
	i.refusal, i.again = deniedInbox(subject), time.Now().Add(refusalPause)
	i.dropLocked()
	return true
}

// notice reads a refusal out of the connection's last error. A client on a connection
// that it was given (Config.Conn) learns of a refusal in no other way.
func (i *inbox) notice() (refusal error) {
	if subject, ok := refusedSubject(i.nc.LastError()); ok && i.refuse(subject) {
		return deniedInbox(subject)
	}
	return nil
}

// ended is called when a subscription has ended. If dropLocked did not do that, the
// connection was closed.
func (i *inbox) ended(subject string) {
	i.mu.Lock()
	current := subject == i.subject
	if current {
		i.dropLocked()
	}
	i.mu.Unlock()
	if current {
		i.lost()
	}
}

func (i *inbox) dropLocked() {
	i.subject = ""
	if i.sub != nil {
		_ = i.sub.Unsubscribe() // fails on a closed connection, which has no subscriptions
		i.sub = nil
	}
}

// close ends the subscription, and prevents another.
func (i *inbox) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.dropLocked()
}

func deniedInbox(subject string) *Error {
	return subjects.Errorf(subjects.PermissionDenied,
		"NATS does not let this account subscribe to %s, the subject of its replies: allow it to subscribe to the subjects of its inbox, which begin like this one", subject)
}
