package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// call is one command: what to send, and where its reply goes.
type call struct {
	command  subjects.Command
	scope    Scope
	request  subjects.Request
	reply    subjects.Message
	revision *Revision // that of reply
	// fits reports whether the reply is one to this request; nil for any.
	fits func() bool
	// writes is set for a command that must not be repeated unless the worker
	// has said that nothing was written.
	writes bool
	// once is set for a read that is not hedged, although its command is.
	once bool
}

// request is a call under way.
type request struct {
	call
	subject  string
	deadline time.Time
	body     []byte
}

// encode returns the body, which says what is left of the time when it is sent. The
// one before is overwritten.
func (r *request) encode() []byte {
	subjects.EnvelopeOf(r.call.request).Timeout = max(time.Until(r.deadline), time.Millisecond)
	clear(r.body)
	r.body = subjects.Append(slices.Grow(r.body[:0], 256), r.call.request)
	return r.body
}

// exchange sends a command, again where that is safe, and decodes the reply.
func (c *Client) exchange(ctx context.Context, call call) error {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	r := &request{call: call, subject: c.prefix.Command(call.command, call.scope)}
	r.deadline, _ = ctx.Deadline() // withTimeout gave it one
	defer func() { clear(r.body) }()

	envelope := subjects.EnvelopeOf(call.request)
	if call.writes && envelope.RequestID == "" {
		envelope.RequestID = rand.Text()
	}
	envelope.Revision = c.Revision()

	var before error // of the attempt before
	for attempt := 0; ; attempt++ {
		if most := c.maxPayload(); len(r.encode()) > most {
			return subjects.Errorf(subjects.PayloadTooLarge,
				"the request has %d bytes: the NATS server's maximum payload is %d", len(r.body), most)
		}
		acted, err := c.attempt(ctx, r)
		c.Observe(*call.revision)
		if err == nil {
			return nil
		}
		mayRepeat := !acted || !call.writes
		if mayRepeat && attempt < c.retries && passing(err) && c.pause(ctx, attempt) {
			before = err
			continue
		}
		if acted && call.writes {
			return &OutcomeUnknownError{RequestID: envelope.RequestID, Err: err}
		}
		if before != nil && errors.Is(err, context.DeadlineExceeded) {
			// Why it was repeated says more than that no reply came in the end.
			return fmt.Errorf("%w; repeated, %w", before, err)
		}
		return err
	}
}

// attempt sends a request, a read more often if its reply is late. It reports whether a
// worker may have acted on it, or may still do so.
func (c *Client) attempt(ctx context.Context, r *request) (acted bool, err error) {
	ctx, stop, err := c.watch(ctx, &waiter{subject: r.subject, asks: true, reads: !r.writes})
	if err != nil {
		return false, err
	}
	defer stop()
	if ctx.Err() != nil {
		return false, ended(ctx, r.subject)
	}
	if !c.nc.IsConnected() {
		return false, c.disconnected()
	}
	if err := c.inbox.open(ctx); err != nil {
		if ctx.Err() != nil {
			err = ended(ctx, r.subject)
		}
		return false, err
	}
	if late := c.hedges.of(&r.call); late != nil {
		return false, c.race(ctx, r, late)
	}
	msg, err := c.inbox.request(ctx, &nats.Msg{Subject: r.subject, Data: r.body})
	switch {
	case err == nil:
		return decode(msg, r.subject, r.call)
	case ctx.Err() != nil:
		return !unsent(ctx), ended(ctx, r.subject)
	case errors.Is(err, nats.ErrNoResponders):
		return false, c.noWorkers(r.subject)
	}
	return false, c.notSent(r.subject, err)
}

func (c *Client) noWorkers(subject string) error {
	return fmt.Errorf("%w on %s: check that one runs, that its prefix is %s, and that this account reaches it",
		ErrNoWorkers, subject, c.prefix)
}

// notSent is the error of a message that nats.go did not send.
func (c *Client) notSent(subject string, err error) error {
	if errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrConnectionClosed) {
		return c.disconnected()
	}
	return fmt.Errorf("send to %s: %w", subject, err)
}

// maxPayload is that of the NATS server, or its default before a connection
// that was given to Connect is up.
func (c *Client) maxPayload() int {
	if most := c.nc.MaxPayload(); most > 0 {
		return int(most)
	}
	return 1 << 20
}

// disconnected is ErrDisconnected with the reason that nats.go knows.
func (c *Client) disconnected() error {
	if err := c.nc.LastError(); err != nil {
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return ErrDisconnected
}

// decode reads a reply into call, or the error that it is.
func decode(msg *nats.Msg, subject string, call call) (acted bool, err error) {
	if msg.Header.Get(subjects.HeaderErrorCode) != "" || msg.Header.Get(subjects.HeaderError) != "" {
		var failure Error
		if err := subjects.Decode(msg.Data, &failure); err != nil || failure.Code == "" {
			return true, malformed(subject, "an error without a readable body")
		}
		// So that what a client was told is gone does not come back.
		*call.revision = failure.Revision
		return mayHaveActed(&failure), &failure
	}
	problem := ""
	if err := subjects.Decode(msg.Data, call.reply); err != nil {
		problem = err.Error()
	} else if call.fits != nil && !call.fits() {
		problem = "it answers another request"
	}
	if problem != "" {
		clear(msg.Data) // it may hold a value
		*call.revision = Revision{}
		return true, malformed(subject, problem)
	}
	return true, nil
}

// mayHaveActed reports whether a worker that answered a write with err may have
// written: when it says so, and when its code is one that this version does not
// know, since then nobody here knows what it leaves open.
func mayHaveActed(err *Error) bool { return err.OutcomeUnknown || !err.Code.Known() }

// passing reports whether the reason of a failure may go away by itself.
func passing(err error) bool {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Retryable
	}
	return errors.Is(err, ErrNoWorkers) || errors.Is(err, ErrDisconnected)
}

// pause waits before the next attempt, and reports whether there is time for
// one: when the deadline comes first, the error at hand says more than the
// deadline would, and says it now.
func (c *Client) pause(ctx context.Context, attempt int) bool {
	const first, most = 100 * time.Millisecond, 10 * time.Second
	delay := min(first<<min(attempt, 16), most)
	delay -= mathrand.N(delay / 2)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
		return false
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // which the next attempt reports, as it does Close
	case <-c.done:
	}
	return true
}
