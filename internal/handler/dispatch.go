package handler

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/manager"
	"credbus/subjects"
)

// call is one request on its way through its command.
type call struct {
	endpoint *endpoint
	msg      *nats.Msg
	scope    subjects.Scope // the scope of the subject: what the caller may touch
	json     bool
	begun    time.Time
	sent     time.Time // before begun if it may have been held up on its way from the server
	asked    asked     // of a retrieve
}

// serve returns the callback of a command's subscriptions:
//
//	receive: accept its reply subject, read its scope
//	└─ dispatch, in the pool, or beside it if the command waits for all replicas
//	   ├─ carryOut
//	   │  ├─ read: decode (JSON is turned into msgpack first), unless hit.go has done so
//	   │  ├─ begin: the deadline
//	   │  ├─ place: into the scope of the subject
//	   │  └─ run, the command itself
//	   └─ respond, or refuse with a code
//
// All of it but run is the same for every command. A command takes its request and returns
// its reply or an error.
func (h *Handler) serve(command subjects.Command) nats.MsgHandler {
	e := h.endpoints[command]
	return func(msg *nats.Msg) { h.receive(e, msg, asked{}) }
}

// receive takes a request up or refuses it.
func (h *Handler) receive(e *endpoint, msg *nats.Msg, asked asked) {
	taken := false
	defer func() {
		if !taken {
			clear(msg.Data) // it may hold values; dispatch wipes what it takes
		}
	}()
	if !h.accept(msg) {
		return
	}
	c := &call{endpoint: e, msg: msg, begun: time.Now(), json: subjects.IsJSON(msg.Data), asked: asked}
	c.sent = h.sent(c.begun)
	var err error
	if c.scope, err = h.config.Prefix.ParseCommand(e.command, msg.Subject); err != nil {
		h.refuse(c, malformed{err})
		return
	}
	if e.cost == everyReplica {
		taken = h.waiting.TryGo(func() error { h.dispatch(c); return nil })
	} else {
		taken = h.pool.submit(e.cost, len(msg.Data), func() { h.dispatch(c) })
	}
	if !taken {
		h.refuse(c, errFull)
	}
}

// dispatch answers a request, also if its command panics, and wipes it.
func (h *Handler) dispatch(c *call) {
	defer clear(c.msg.Data) // it may hold values
	defer h.recover(c)
	reply, revision, err := h.carryOut(c)
	if err != nil {
		h.refuse(c, err)
		return
	}
	h.respond(c, reply, revision)
}

// carryOut returns the open reply to a request, and its revision.
func (h *Handler) carryOut(c *call) (reply []byte, revision subjects.Revision, err error) {
	request, wipe, err := h.read(c)
	if err != nil {
		return nil, revision, malformed{err}
	}
	defer wipe()
	ctx, cancel, err := h.begin(c, subjects.EnvelopeOf(request))
	if err != nil {
		return nil, revision, err
	}
	defer cancel()
	place := subjects.PlaceOf(request)
	if err := c.place(place.Scope); err != nil {
		return nil, revision, err // without the target, which is not the caller's to touch
	}
	if c.endpoint.off != nil {
		return nil, revision, c.endpoint.off
	}
	if place.Target == nil {
		return c.endpoint.run(ctx, c, request)
	}
	target := *place.Target
	if reply, revision, err = c.endpoint.run(ctx, c, request); err != nil {
		err = failure{err, target}
	}
	return reply, revision, err
}

// read returns a request. wipe is called when it is done with, as it may refer to the body.
func (h *Handler) read(c *call) (request subjects.PlacedRequest, wipe func(), err error) {
	if c.asked.plain {
		if request, ok := c.asked.lookup.Request(); ok {
			return request, func() {}, nil
		}
	}
	body, wipe := c.msg.Data, func() {} // dispatch wipes that
	if c.json {
		if body, err = subjects.FromJSON(body); err != nil {
			return nil, nil, err
		}
		wipe = func() { clear(body) }
	}
	request = c.endpoint.request()
	if err := h.decode(body, request); err != nil {
		wipe()
		return nil, nil, err
	}
	return request, wipe, nil
}

// decode reads a body; an empty one is a request without arguments.
func (h *Handler) decode(body []byte, request subjects.Request) error {
	switch {
	case len(body) == 0:
		return nil
	case h.config.Strict:
		return subjects.DecodeStrict(body, request)
	}
	return subjects.Decode(body, request)
}

// begin returns the context of a command, which ends with the time that its caller gave
// it. If that is over, the command is not begun.
func (h *Handler) begin(c *call, envelope *subjects.Envelope) (context.Context, context.CancelFunc, error) {
	// The timeout counts from when the server sent the request. Delays on the way and the
	// wait for the pool use it up.
	deadline := envelope.Until(c.sent)
	if deadline.IsZero() {
		return h.ctx, func() {}, nil
	}
	if !time.Now().Before(deadline) {
		return nil, nil, overdue(envelope, c)
	}
	ctx, cancel := context.WithDeadline(h.ctx, deadline)
	return ctx, cancel, nil
}

// heldUp is the age from which a request counts as late. Arrivals cannot tell a younger one
// from one that was not delayed.
const heldUp = time.Second

// sent is the earliest time at which the server may have sent a request received now.
func (h *Handler) sent(received time.Time) time.Time {
	if age := h.arrivals.Age(); age > heldUp {
		return received.Add(-age)
	}
	return received
}

// overdue says why a request is not begun.
func overdue(envelope *subjects.Envelope, c *call) error {
	switch {
	case !envelope.Deadline.IsZero() && !c.begun.Before(envelope.Deadline):
		return subjects.Errorf(subjects.StorageTimeout, "the request arrived after its deadline, so nothing was done: send it again with a timeout, which needs no clocks that agree, or set the clocks of client and worker")
	case c.sent.Before(c.begun):
		return subjects.Errorf(subjects.StorageTimeout, "the request was held up on its way, or the worker was stopped, and its time ran out, so nothing was done: send it again")
	}
	return subjects.Errorf(subjects.StorageTimeout, "the time of the request ran out while it waited for the worker, so nothing was done: send it again with a longer timeout, or run more workers")
}

// place moves the scope that a request names, if it can name one, into that of the subject.
// Authority comes from the subject alone: a body may narrow it, never leave it.
func (c *call) place(named *subjects.Scope) error {
	if named == nil {
		return nil
	}
	scope, err := manager.Within(c.scope, *named)
	if err != nil {
		return err
	}
	*named = scope
	return nil
}

func (h *Handler) recover(c *call) {
	if r := recover(); r != nil {
		// What is recovered may hold a value, so it is not printed.
		h.config.Logger.Error("command panicked", "command", c.endpoint.command, "scope", c.scope, "stack", string(debug.Stack()))
		h.refuseBegun(c, subjects.Errorf(subjects.Internal, "the worker failed; its log has the reason"))
	}
}
