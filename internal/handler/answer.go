package handler

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"

	"credbus/internal/manager"
	"credbus/internal/wireseal"
	"credbus/subjects"
)

// failure is an error that concerns one credential.
type failure struct {
	error
	target subjects.Target
}

func (f failure) Unwrap() error { return f.error }

// malformed is an error of a subject or a body that cannot be read.
type malformed struct{ error }

func (m malformed) Unwrap() error { return m.error }

var errFull = subjects.Errorf(subjects.ResourceExhausted, "the worker is full, so nothing was done: send the request again later")

// respond closes an open reply with a revision and sends it.
func (h *Handler) respond(c *call, reply []byte, revision subjects.Revision) {
	h.send(c, h.finish(reply, revision))
}

// finish closes an open reply. Its revision is the given one, or the one that this replica
// has applied by now, if that is later.
func (h *Handler) finish(reply []byte, revision subjects.Revision) []byte {
	if applied := h.config.Replica.Applied(); applied.Compare(revision) > 0 {
		revision = applied
	}
	return subjects.AppendRevision(reply, revision)
}

// replyLimit is how many bytes a reply may have before it is sealed, if the request was.
func (h *Handler) replyLimit(sealed bool) int {
	limit := int(h.config.Conn.MaxPayload())
	if sealed {
		limit -= wireseal.ReplyOverhead
	}
	return limit
}

// send publishes an encoded reply and wipes it. If the reply cannot be sent, the command
// took effect all the same.
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
	if limit := h.replyLimit(c.opened.Sealed()); len(body) > limit {
		h.refuseBegun(c, subjects.Errorf(subjects.PayloadTooLarge, "the reply has %d bytes, and the server's maximum payload leaves room for %d: ask for less, or raise max_payload of the NATS server", len(body), limit))
		return
	}
	if c.opened.Sealed() {
		body = c.opened.SealReply(make([]byte, 0, len(body)+wireseal.ReplyOverhead), false, body)
	}
	h.count(c, nil, nil)
	c.pass.Answered(len(body))
	if err := h.config.Conn.Publish(c.msg.Reply, body); err != nil {
		h.config.Logger.Warn("reply could not be sent", "command", c.endpoint.command, "error", err)
	}
}

// refuseBegun is refuse for a command that may have begun to write, if it is one that
// writes.
func (h *Handler) refuseBegun(c *call, err error) {
	told, _ := manager.Explain(err, subjects.Target{})
	if c.endpoint.command.Writes() {
		told.MarkOutcomeUnknown()
	}
	h.refuse(c, told)
}

// refuse answers with an error: the code in the headers that NATS services use, and the
// whole error in the body. If the request was sealed, all is in the sealed body.
func (h *Handler) refuse(c *call, err error) {
	var f failure
	errors.As(err, &f)
	told, detail := manager.Explain(err, f.target)
	if detail && !errors.Is(err, context.Canceled) {
		h.config.Logger.Error("command failed", "command", c.endpoint.command, "scope", c.scope, "code", told.Code, "error", err)
	}
	h.count(c, err, told)
	h.recordRefusal(c, told)
	msg := &nats.Msg{Subject: c.msg.Reply, Data: h.finish(subjects.AppendOpen(nil, told), told.Revision)}
	if c.json {
		if text, err := subjects.ToJSON(msg.Data); err == nil {
			msg.Data = text
		}
	}
	if c.opened.Sealed() {
		msg.Data = c.opened.SealReply(nil, true, msg.Data)
	} else {
		msg.Header = nats.Header{
			subjects.HeaderError:     {headerText(told.Message)},
			subjects.HeaderErrorCode: {told.Code.NumberText()},
		}
	}
	c.pass.Answered(len(msg.Data))
	if err := h.config.Conn.PublishMsg(msg); err != nil {
		h.config.Logger.Warn("reply could not be sent", "command", c.endpoint.command, "error", err)
	}
}

// headerText puts a message on one line.
func headerText(s string) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
}
