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
}

// exchange sends a command, again where that is safe, and decodes the reply.
func (c *Client) exchange(ctx context.Context, call call) error {
	subject := c.prefix.Command(call.command, call.scope)
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()

	envelope := subjects.EnvelopeOf(call.request)
	if call.writes && envelope.RequestID == "" {
		envelope.RequestID = rand.Text()
	}
	envelope.Revision = c.Revision()
	deadline, _ := ctx.Deadline() // withTimeout gave it one
	var body []byte
	defer func() { clear(body) }()

	var before error // of the attempt before
	for attempt := 0; ; attempt++ {
		// An attempt says what is left of the time when it is sent.
		envelope.Timeout = max(time.Until(deadline), time.Millisecond)
		clear(body)
		body = subjects.Append(slices.Grow(body[:0], 256), call.request)
		if most := c.maxPayload(); len(body) > most {
			// nats.go would refuse it too, and not forget that it awaits a reply.
			return subjects.Errorf(subjects.PayloadTooLarge,
				"the request has %d bytes: the NATS server's maximum payload is %d", len(body), most)
		}
		acted, err := c.attempt(ctx, subject, body, call)
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

// attempt sends a request once. It reports whether a worker may have acted on
// it, or may still do so.
func (c *Client) attempt(ctx context.Context, subject string, body []byte, call call) (acted bool, err error) {
	ctx, stop, err := c.watch(ctx, &waiter{subject: subject, asks: true, reads: !call.writes})
	if err != nil {
		return false, err
	}
	defer stop()
	if ctx.Err() != nil {
		return false, ended(ctx, subject)
	}
	if !c.nc.IsConnected() {
		return false, c.disconnected()
	}
	if err := c.inbox.open(ctx); err != nil {
		if ctx.Err() != nil {
			err = ended(ctx, subject)
		}
		return false, err
	}
	msg, err := c.inbox.request(ctx, &nats.Msg{Subject: subject, Data: body})
	switch {
	case err == nil:
		return decode(msg, subject, call)
	case ctx.Err() != nil:
		return !unsent(ctx), ended(ctx, subject)
	case errors.Is(err, nats.ErrNoResponders):
		return false, fmt.Errorf("%w on %s: check that one runs, that its prefix is %s, and that this account reaches it",
			ErrNoWorkers, subject, c.prefix)
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed):
		return false, c.disconnected()
	}
	return false, fmt.Errorf("send to %s: %w", subject, err)
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
