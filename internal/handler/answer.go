package handler

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"

	"credbus/internal/manager"
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
	h.count(c, nil, nil)
	if err := h.config.Conn.Publish(c.msg.Reply, body); err != nil {
		h.config.Logger.Warn("reply could not be sent", "command", c.endpoint.command, "error", err)
	}
}

// refuseBegun is refuse for a command that came so far that, if it writes, it
// may have written.
func (h *Handler) refuseBegun(c *call, err error) {
	told, _ := manager.Explain(err, subjects.Target{})
	if c.endpoint.command.Writes() {
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
		h.config.Logger.Error("command failed", "command", c.endpoint.command, "scope", c.scope, "code", told.Code, "error", err)
	}
	h.count(c, err, told)
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
		h.config.Logger.Warn("reply could not be sent", "command", c.endpoint.command, "error", err)
	}
}

// headerText keeps a message to one line.
func headerText(s string) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
}
