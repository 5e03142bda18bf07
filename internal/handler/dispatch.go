package handler

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/manager"
	"credbus/subjects"
)

// call is one request on its way through a command.
type call struct {
	command subjects.Command
	msg     *nats.Msg
	scope   subjects.Scope // the scope of the subject: what the caller may touch
	json    bool
	begun   time.Time
	sent    time.Time // before begun if it may have been held up on its way from the server
}

// request is a pointer to a request of the contract.
type request[T any] interface {
	*T
	subjects.Request
}

// dispatch is the path of every request but a cache hit:
//
//	dispatch
//	├─ decode (JSON is turned into msgpack first)
//	├─ deadline
//	├─ run, the command itself
//	└─ respond, or refuse with a code
//
// It owns decoding, deadlines, panics, codes, counting and logging, so that a
// command is only what is its own.
func dispatch[T any, P request[T]](h *Handler, run func(context.Context, *call, P) ([]byte, subjects.Revision, error)) func(*call) {
	return func(c *call) {
		defer clear(c.msg.Data) // it may hold values
		defer h.recover(c)
		request := P(new(T))
		body := c.msg.Data
		if c.json {
			transcoded, err := subjects.FromJSON(body)
			if err != nil {
				h.refuseMalformed(c, err)
				return
			}
			defer clear(transcoded)
			body = transcoded
		}
		if err := h.decode(body, request); err != nil {
			h.refuseMalformed(c, err)
			return
		}
		ctx, cancel := h.ctx, context.CancelFunc(func() {})
		// The timeout counts from when the server sent the request. Delays on the way and the
		// wait for the pool use it up.
		if deadline := subjects.EnvelopeOf(request).Until(c.sent); !deadline.IsZero() {
			if !time.Now().Before(deadline) {
				h.refuse(c, overdue(subjects.EnvelopeOf(request), c))
				return
			}
			ctx, cancel = context.WithDeadline(ctx, deadline)
		}
		defer cancel()
		reply, revision, err := run(ctx, c, request)
		if err != nil {
			h.refuse(c, err)
			return
		}
		h.respond(c, reply, revision)
	}
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

// accept reports whether a request can be answered at all. NATS leaves it to
// the one who replies to look where a reply would go.
func (h *Handler) accept(msg *nats.Msg) bool {
	if h.isInbox(msg.Reply) {
		return true
	}
	if msg.Reply == "" {
		h.counts.noReply.Add(1)
	} else {
		h.counts.refusedReplies.Add(1)
		const what = "request refused: its reply subject is under no inbox prefix (nats.inbox_prefixes)"
		h.config.Logger.Debug(what, "subject", msg.Subject, "reply", msg.Reply)
		h.counts.warn.Do(func() { // at most once a minute, or clients could fill the log
			h.config.Logger.Warn(what+"; that client times out. Add its prefix, or have it use one of those", "subject", msg.Subject, "reply", msg.Reply, "refused", h.counts.refusedReplies.Load())
		})
	}
	return false
}

func (h *Handler) isInbox(reply string) bool {
	for _, prefix := range h.inboxes {
		if strings.HasPrefix(reply, prefix) && len(reply) > len(prefix) {
			return isLiteral(reply)
		}
	}
	return false
}

// isLiteral reports whether a subject has no wildcard and no white space.
func isLiteral(subject string) bool {
	for i := range len(subject) {
		if c := subject[i]; c <= ' ' || c == '*' || c == '>' {
			return false
		}
	}
	return true
}

// resolve places a target in the scope of the subject. Authority comes from
// the subject alone: a body may narrow it, never leave it.
func (c *call) resolve(target subjects.Target) (subjects.Target, error) {
	scope, err := c.within(target.Scope)
	if err != nil {
		return subjects.Target{}, err
	}
	target.Scope = scope
	return target, nil
}

func (c *call) within(scope subjects.Scope) (subjects.Scope, error) {
	return manager.Within(c.scope, scope)
}

func (h *Handler) recover(c *call) {
	if r := recover(); r != nil {
		// What is recovered may hold a value, so it is not printed.
		h.config.Logger.Error("command panicked", "command", c.command, "scope", c.scope, "stack", string(debug.Stack()))
		h.refuseBegun(c, subjects.Errorf(subjects.Internal, "the worker failed; its log has the reason"))
	}
}

// respond closes an open reply with a revision and sends it.
func (h *Handler) respond(c *call, reply []byte, revision subjects.Revision) {
	h.send(c, h.finish(reply, revision))
}

// finish closes an open reply. Its revision is the one of what it tells, or what
// this replica has applied by now, if that is later.
func (h *Handler) finish(reply []byte, revision subjects.Revision) []byte {
	if applied := h.config.Replica.Applied(); applied.Compare(revision) > 0 {
		revision = applied
	}
	return subjects.AppendRevision(reply, revision)
}

// replyLimit is how many bytes a reply may have.
func (h *Handler) replyLimit() int { return int(h.config.Conn.MaxPayload()) }

// size is how many bytes of a reply a piece of msgpack takes.
func (c *call) size(msgpack []byte) int {
	if !c.json {
		return len(msgpack)
	}
	text, err := subjects.ToJSON(msgpack)
	if err != nil {
		return len(msgpack)
	}
	defer clear(text)
	return len(text) + len(",")
}

// failure is an error that concerns one credential.
type failure struct {
	error
	target subjects.Target
}

func (f failure) Unwrap() error { return f.error }

func about(target subjects.Target, err error) error { return failure{err, target} }

// send publishes an encoded reply and wipes it. What the reply tells was done,
// whether or not it can be told.
func (h *Handler) send(c *call, body []byte) {
	defer clear(body)
	if c.json {
		text, err := subjects.ToJSON(body)
		if err != nil {
			h.refuseBegun(c, err)
			return
		}
		defer clear(text)
		body = text
	}
	if len(body) > h.replyLimit() {
		h.refuseBegun(c, subjects.Errorf(subjects.PayloadTooLarge, "the reply has %d bytes, the server's maximum payload is %d", len(body), h.replyLimit()))
		return
	}
	if err := h.config.Conn.Publish(c.msg.Reply, body); err != nil {
		h.config.Logger.Warn("reply could not be sent", "command", c.command, "error", err)
	}
	h.service.count(c, nil)
}

func (h *Handler) refuseMalformed(c *call, err error) {
	h.counts.malformed.Add(1)
	h.refuse(c, err)
}

// refuseBegun is refuse for a command that came so far that, if it writes, it
// may have written.
func (h *Handler) refuseBegun(c *call, err error) {
	told, _ := manager.Explain(err, subjects.Target{})
	if c.command.Writes() {
		told.MarkOutcomeUnknown()
	}
	h.refuse(c, told)
}

// refuse answers with an error: the code in the headers that NATS services
// use, and all of it in the body.
func (h *Handler) refuse(c *call, err error) {
	var f failure
	errors.As(err, &f)
	told, detail := manager.Explain(err, f.target)
	if detail && !errors.Is(err, context.Canceled) {
		h.config.Logger.Error("command failed", "command", c.command, "scope", c.scope, "code", told.Code, "error", err)
	}
	h.service.count(c, told)
	msg := nats.NewMsg(c.msg.Reply)
	msg.Header[subjects.HeaderError] = []string{headerText(told.Message)}
	msg.Header[subjects.HeaderErrorCode] = []string{told.Code.NumberText()}
	msg.Data = h.finish(subjects.AppendOpen(nil, told), told.Revision)
	if c.json {
		if text, err := subjects.ToJSON(msg.Data); err == nil {
			msg.Data = text
		}
	}
	if err := h.config.Conn.PublishMsg(msg); err != nil {
		h.config.Logger.Warn("reply could not be sent", "command", c.command, "error", err)
	}
}

// headerText keeps a message to one line.
func headerText(s string) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
}
