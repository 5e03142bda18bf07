package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// waiter is an attempt at a command that waits for its reply, or an event
// stream. It must end when the client closes or NATS refuses its subject.
//
// NATS does not answer a request that it refuses. It reports the subject on the
// connection some time later; without that report, a command would wait for its
// whole timeout. Nor does nats.go end waiting requests when the connection breaks,
// although their replies are most likely lost.
type waiter struct {
	subject string
	asks    bool // waits for a reply to the client's inbox
	reads   bool // sent again, not waited for, once the connection broke
	cancel  context.CancelCauseFunc
}

// interruption is the cause of a context that the client ended. The type is
// unexported, so that a cause of the caller cannot be mistaken for it.
type interruption struct {
	reason error
	unsent bool // NATS refused the waiter's message, so nobody has it
}

func (i interruption) Error() string { return i.reason.Error() }

// watch derives a context that the client can interrupt, as w says. The caller must
// call stop.
func (c *Client) watch(ctx context.Context, w *waiter) (_ context.Context, stop func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.cancel = cancel
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
		cancel(nil)
		return nil, nil, ErrClosed
	default:
	}
	c.waiting[w] = struct{}{}
	return ctx, func() {
		cancel(nil)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, w)
	}, nil
}

// interruptLocked ends the waiters that match.
func (c *Client) interruptLocked(cause interruption, match func(*waiter) bool) {
	for w := range c.waiting {
		if match(w) {
			w.cancel(cause)
		}
	}
}

// handlers is a nats.Option that puts the client's handlers before those that
// are set already. Without one, nats.go would print errors to stderr.
func (c *Client) handlers(o *nats.Options) error {
	failed, lost, lostOld := o.AsyncErrorCB, o.DisconnectedErrCB, o.DisconnectedCB
	o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) {
		c.refused(err)
		if failed != nil {
			failed(nc, sub, err)
		}
	}
	o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
		c.lost()
		if lost != nil {
			lost(nc, err)
		} else if lostOld != nil {
			lostOld(nc)
		}
	}
	return nil
}

// refused ends all waiters on a subject that NATS refuses. If it is the client's
// inbox, no reply will come, although the requests were sent.
func (c *Client) refused(err error) {
	subject, ok := refusedSubject(err)
	if !ok {
		return
	}
	deaf := c.inbox.refuse(subject)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interruptLocked(interruption{denied(subject), true}, func(w *waiter) bool { return w.subject == subject })
	if deaf {
		c.interruptLocked(interruption{reason: deniedInbox(subject)}, func(w *waiter) bool { return w.asks })
	}
}

// lost ends waiting reads, since the connection broke.
func (c *Client) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	broke := fmt.Errorf("%w: the connection broke before the reply came", ErrDisconnected)
	c.interruptLocked(interruption{reason: broke}, func(w *waiter) bool { return w.reads })
}

// closedConnection ends all that wait for a reply: the connection was closed.
func (c *Client) closedConnection() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interruptLocked(interruption{reason: errConnectionClosed}, func(w *waiter) bool { return w.asks })
}

// refusedSubject reads the subject out of NATS's report, whose text is
// Permissions Violation for Publish to "SUBJECT".
func refusedSubject(err error) (string, bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return "", false
	}
	_, quoted, _ := strings.Cut(err.Error(), `"`)
	subject, _, ok := strings.Cut(quoted, `"`)
	return subject, ok
}

func denied(subject string) *Error {
	return subjects.Errorf(subjects.PermissionDenied,
		"NATS does not let this account use subject %s: act at a scope that it may use, or ask for permission for the subject", subject)
}

// unsent reports whether a context is done because NATS refused the message.
func unsent(ctx context.Context) bool {
	own, ok := context.Cause(ctx).(interruption)
	return ok && own.unsent
}

// ended is the error of a context that is done.
func ended(ctx context.Context, subject string) error {
	if own, ok := context.Cause(ctx).(interruption); ok {
		return own.reason
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no reply on %s in time: %w", subject, ctx.Err())
	}
	return fmt.Errorf("waiting for a reply on %s: %w", subject, ctx.Err())
}
