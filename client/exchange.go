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

	"credbus/internal/wireseal"
	"credbus/subjects"
)

// call is one command: what to send, and where its reply goes.
type call struct {
	command  subjects.Command
	scope    Scope
	request  subjects.Request
	reply    subjects.Message
	revision *Revision // of reply
	// fits reports whether the reply belongs to this request; nil accepts any.
	fits func() bool
	// writes is set for a command that must not be repeated unless the worker
	// has said that nothing was written.
	writes bool
	// once is set for a read that is not hedged, although its command is.
	once bool
	// begins is set for a request that begins a session, and so goes in clear.
	begins bool
}

// request is a call under way.
type request struct {
	call
	subject  string
	about    []byte // subject without the prefix, to which a sealed body is bound
	deadline time.Time
	body     []byte
	session  *session // of the present attempt, nil if it goes in clear
}

func (c *Client) newRequest(ctx context.Context, call call) *request {
	subject := c.prefix.Command(call.command, call.scope)
	r := &request{call: call, subject: subject, about: []byte(subject[len(c.prefix)+1:])}
	r.deadline, _ = ctx.Deadline()
	return r
}

// encode returns the body, with the time that is left now. It overwrites the body
// before.
func (r *request) encode() []byte {
	subjects.EnvelopeOf(r.call.request).Timeout = max(time.Until(r.deadline), time.Millisecond)
	clear(r.body)
	r.body = subjects.Append(slices.Grow(r.body[:0], 256), r.call.request)
	return r.body
}

// exchange sends a command, repeats it if that is safe, and decodes the reply.
func (c *Client) exchange(ctx context.Context, call call) error {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	r := c.newRequest(ctx, call) // withTimeout gave ctx a deadline
	defer func() { clear(r.body) }()

	envelope := subjects.EnvelopeOf(call.request)
	if call.writes && envelope.RequestID == "" {
		envelope.RequestID = rand.Text()
	}
	envelope.Revision = c.Revision()

	var before error                // of the previous attempt
	renewed, unsure := false, false // unsure: an attempt before may have acted
	for attempt := 0; ; attempt++ {
		acted, err := c.attempt(ctx, r)
		c.Observe(*call.revision)
		if err == nil {
			return nil
		}
		mayRepeat := !acted || !call.writes
		if errors.Is(err, ErrSessionExpired) {
			c.sessions.drop(r.session)
			mayRepeat, unsure = true, unsure || acted // acted is set if the error may be forged
			if !renewed {
				renewed = true
				attempt--
				continue
			}
		}
		acted = acted || unsure
		if mayRepeat && attempt < c.retries && passing(err) && c.pause(ctx, attempt, err) {
			if before = err; retryAfter(err) > 0 {
				attempt-- // the deadline alone bounds how often a worker may say when to come back
			}
			continue
		}
		if acted && call.writes {
			return &OutcomeUnknownError{RequestID: envelope.RequestID, Err: err}
		}
		if before != nil && errors.Is(err, context.DeadlineExceeded) {
			// The reason for the repetition says more than that no reply came.
			return fmt.Errorf("%w; repeated, %w", before, err)
		}
		return err
	}
}

// attempt sends a request once, or a read several times if its reply is late. It reports
// whether a worker may have acted on it, or may still do so.
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
	if r.session, err = c.session(ctx, r); err != nil {
		return false, err
	}
	if over := len(r.encode()) - c.maxBody(); over > 0 {
		most := c.maxPayload()
		return false, subjects.Errorf(subjects.PayloadTooLarge,
			"the request has %d bytes: the NATS server's maximum payload is %d", most+over, most)
	}
	if late := c.hedges.of(&r.call); late != nil {
		return false, c.race(ctx, r, late)
	}
	body, nonce := r.seal()
	msg, err := c.inbox.request(ctx, &nats.Msg{Subject: r.subject, Data: body})
	switch {
	case err == nil:
		return r.decode(msg, nonce)
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

// maxBody is how long the body of a request may be before it is sealed.
func (c *Client) maxBody() int {
	if c.sessions.off {
		return c.maxPayload()
	}
	return c.maxPayload() - wireseal.RequestOverhead
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

// decode reads a reply, or returns the error that it holds.
func (r *request) decode(msg *nats.Msg, nonce wireseal.Nonce) (acted bool, err error) {
	body, failed, err := r.open(msg, nonce)
	if err != nil {
		return true, err
	}
	if failed {
		var failure Error
		if err := subjects.Decode(body, &failure); err != nil || failure.Code == "" {
			return true, malformed(r.subject, "an error without a readable body")
		}
		// So that a credential that was reported missing does not come back.
		*r.revision = failure.Revision
		return mayHaveActed(&failure), &failure
	}
	problem := ""
	if err := subjects.Decode(body, r.reply); err != nil {
		problem = err.Error()
	} else if r.fits != nil && !r.fits() {
		problem = "it answers another request"
	}
	if problem != "" {
		clear(msg.Data) // it may hold a value
		*r.revision = Revision{}
		return true, malformed(r.subject, problem)
	}
	return true, nil
}

// mayHaveActed reports whether a worker that answered a write with err may have
// written: if it says so, and if this version does not know the code, since then
// it does not know what the code leaves open.
func mayHaveActed(err *Error) bool { return err.OutcomeUnknown || !err.Code.Known() }

// passing reports whether the reason of a failure may go away by itself.
func passing(err error) bool {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Retryable
	}
	return errors.Is(err, ErrNoWorkers) || errors.Is(err, ErrDisconnected)
}

// retryAfter is when the error says to come back, 0 if it does not.
func retryAfter(err error) time.Duration {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused.RetryAfter
	}
	return 0
}

// pause waits before the next attempt, at least as long as the error of the last one asks, and
// reports whether there is time for one. If the deadline comes first, it returns at once: the
// present error says more than a timeout would.
func (c *Client) pause(ctx context.Context, attempt int, last error) bool {
	const first, most = 100 * time.Millisecond, 10 * time.Second
	delay := min(first<<min(attempt, 16), most)
	delay -= mathrand.N(delay / 2)
	if after := retryAfter(last); after > delay {
		delay = after + mathrand.N(after/4+1) // not all callers at once
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
		return false
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // the next attempt reports this, and Close
	case <-c.done:
	}
	return true
}
