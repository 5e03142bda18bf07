package handler

import (
	"cmp"
	"context"
	"errors"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/limits"
	"credbus/internal/manager"
	"credbus/internal/wireseal"
	"credbus/subjects"
)

// call is one request on its way through its command.
type call struct {
	endpoint *endpoint
	msg      *nats.Msg
	scope    subjects.Scope  // the scope of the subject: what the caller may touch
	json     bool            // the request is, and the reply will be
	opened   wireseal.Opened // if the request was sealed
	noted    bool            // no copy of its message can act any more
	begun    time.Time
	sent     time.Time // before begun if it may have been delayed on its way from the server
	asked    asked     // of a retrieve
	pass     *limits.Pass
	target   subjects.Target    // that the request is about, once it is placed
	records  bool               // the command goes into the audit log
	told     []subjects.Summary // what the reply says, if it does
	list     list               // that the request asks for a page of, or nil
}

// serve returns the callback of a command's subscriptions:
//
//	receive: accept its reply subject, read its scope, admit it under the limits, or decline it
//	└─ dispatch, in the pool, or beside it if the command waits for all replicas
//	   ├─ carryOut
//	   │  ├─ unseal, if it is sealed and hit.go has not done so already: wire.go
//	   │  ├─ read: decode (JSON is turned into msgpack first), unless hit.go has done so already
//	   │  ├─ begin: the deadline
//	   │  ├─ place: into the scope of the subject
//	   │  ├─ narrow: the limits of the scope that it names
//	   │  ├─ first: a sealed change acts once
//	   │  ├─ the cursor, if it asks for a page: cursor.go
//	   │  └─ run, the command itself
//	   └─ respond, or refuse with a code
//
// All of it but run is the same for every command. A command takes its request and returns
// its reply or an error.
func (h *Handler) serve(command subjects.Command) nats.MsgHandler {
	e := h.endpoints[command]
	return func(msg *nats.Msg) { h.receive(e, msg, asked{}) }
}

// receive accepts a request or refuses it.
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
	c := &call{
		endpoint: e, msg: msg, begun: time.Now(), asked: asked, opened: asked.opened, records: h.config.Audit.Wants(e.command),
	}
	c.json = subjects.IsJSON(c.body())
	c.sent = h.sent(c.begun)
	scope, wrong := h.config.Prefix.ParseCommand(e.command, msg.Subject)
	if c.scope = scope; wrong != nil {
		c.scope = leadingScope(strings.TrimPrefix(msg.Subject, h.config.Prefix.Command(e.command, subjects.Root)+"."))
	}
	if err := cmp.Or(h.admit(c), h.admitClear(e, msg, c.begun)); err != nil {
		h.decline(c, err)
		return
	}
	if wrong != nil {
		h.decline(c, malformed{wrong})
		return
	}
	if e.cost == everyReplica {
		taken = h.waiting.TryGo(func() error { h.dispatch(c); return nil })
	} else {
		taken = h.pool.submit(e.cost, len(msg.Data), func() { h.dispatch(c) })
	}
	if !taken {
		h.decline(c, errFull)
	}
}

// decline refuses a request before it gets into the pool. It runs in the callback. To note the
// message of a change takes longer, so a goroutine does that. If there are too many of them, the
// client gets no answer, and does not believe that nothing was done.
func (h *Handler) decline(c *call, err error) {
	c.pass.Release()
	_ = h.open(c) // so that the refusal is sealed
	h.lighten(c)
	if !c.unspent() {
		h.holdBack(err, func() { h.refuse(c, err) })
		return
	}
	if held, ok := errors.AsType[*limits.Refusal](err); ok && held.HoldBack == limits.Never {
		return
	}
	_ = h.late.TryGo(func() error {
		told := h.spent(c, err)
		h.holdBack(err, func() { h.refuse(c, told) })
		return nil
	})
}

// dispatch answers a request, even if its command panics, and wipes it.
func (h *Handler) dispatch(c *call) {
	defer func(msg *nats.Msg) { clear(msg.Data) }(c.msg) // it may hold values
	defer c.pass.Release()
	defer h.recover(c)
	reply, revision, err := h.carryOut(c)
	if err == nil {
		err = h.recordReply(c, revision)
	}
	if err != nil {
		clear(reply)
		c.pass.Release() // it may be held back
		told := h.spent(c, err)
		h.lighten(c)
		h.holdBack(err, func() { h.refuse(c, told) })
		return
	}
	h.respond(c, reply, revision)
}

// carryOut returns the open reply to a request, and its revision.
func (h *Handler) carryOut(c *call) (reply []byte, revision subjects.Revision, err error) {
	if err := h.unseal(c); err != nil {
		return nil, revision, err
	}
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
		return nil, revision, err // without the target, which the caller may not touch
	}
	if c.endpoint.off != nil {
		return nil, revision, c.endpoint.off
	}
	c.target = placed(place)
	if err := h.narrow(c, place.Scope); err != nil {
		return nil, revision, err
	}
	if err := h.first(ctx, c); err != nil {
		return nil, revision, err
	}
	c.list = listOf(c.endpoint.command, request)
	if err := c.list.enter(request); err != nil {
		return nil, revision, err
	}
	if err := h.recordBegin(ctx, c, c.target); err != nil {
		return nil, revision, err
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

// read returns a request. Call wipe after its last use, as it may refer to the body.
func (h *Handler) read(c *call) (request subjects.PlacedRequest, wipe func(), err error) {
	if c.asked.plain {
		if request, ok := c.asked.lookup.Request(); ok {
			return request, func() {}, nil
		}
	}
	body, wipe := c.body(), func() {} // dispatch wipes msg.Data, where it is
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

// begin returns the context of a command, which ends when the caller's time is over. If
// that has passed already, begin returns an error.
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

// heldUp is the age from which a request counts as late. Below it, Arrivals cannot tell a
// late request from one that was not delayed.
const heldUp = time.Second

// sent is the earliest time at which the server may have sent a request received now.
func (h *Handler) sent(received time.Time) time.Time {
	if age := h.arrivals.Age(); age > heldUp {
		return received.Add(-age)
	}
	return received
}

// overdue says why a request is not carried out.
func overdue(envelope *subjects.Envelope, c *call) error {
	switch {
	case !envelope.Deadline.IsZero() && !c.begun.Before(envelope.Deadline):
		return subjects.Errorf(subjects.StorageTimeout, "the request arrived after its deadline, so nothing was done: send it again with a timeout, which does not depend on clocks, or set the clocks of client and worker")
	case c.sent.Before(c.begun):
		return subjects.Errorf(subjects.StorageTimeout, "the request was delayed on its way, or the worker was paused, until its time ran out, so nothing was done: send it again")
	}
	return subjects.Errorf(subjects.StorageTimeout, "the time of the request ran out while it waited for the worker, so nothing was done: send it again with a longer timeout, or run more workers")
}

// place moves the scope that a request names, if it can name one, into that of the subject.
// Only the subject gives authority: a body may narrow it, never leave it.
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

// placed is what a request is about, in full or only its scope.
func placed(place subjects.Place) subjects.Target {
	switch {
	case place.Target != nil:
		return *place.Target
	case place.Scope != nil:
		return subjects.Target{Scope: *place.Scope}
	}
	return subjects.Target{}
}

func (h *Handler) recover(c *call) {
	if r := recover(); r != nil {
		// The recovered value may hold a secret, so it is not logged.
		h.config.Logger.Error("command panicked", "command", c.endpoint.command, "scope", c.scope, "stack", string(debug.Stack()))
		h.refuseBegun(c, subjects.Errorf(subjects.Internal, "the worker failed; its log has the reason"))
	}
}
