package handler

import (
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/limits"
	"credbus/internal/manager"
	"credbus/subjects"
)

// admit counts a request under the limits of its subject's scope, or refuses it, before
// anything else is done for it.
func (h *Handler) admit(c *call) error {
	err := c.asked.refused
	if err == nil {
		c.pass, err = h.config.Limits.Admit(c.begun, c.scope, c.msg.Size())
	}
	return h.limited(err)
}

// maxLate bounds the refusals that are held back at once. Further ones are answered at once.
const maxLate = 4096

// holdBack calls answer, perhaps later or never if err is a refusal by a limit.
func (h *Handler) holdBack(err error, answer func()) {
	held, ok := errors.AsType[*limits.Refusal](err)
	if ok && held.HoldBack == limits.Never {
		return
	}
	late := ok && held.HoldBack > 0 && h.late.TryGo(func() error {
		timer := time.NewTimer(held.HoldBack)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-h.leaving:
		}
		answer()
		return nil
	})
	if !late {
		answer()
	}
}

// lighten wipes the message of a call that will only be answered, and lets go of all but what
// that needs: a refusal that is held back must not hold the request as well.
func (h *Handler) lighten(c *call) {
	c.msg, c.opened.Body = h.light(c.msg), nil
}

func (h *Handler) light(msg *nats.Msg) *nats.Msg {
	clear(msg.Data)
	light := &nats.Msg{Subject: msg.Subject, Reply: msg.Reply}
	if info := msg.Header[requestInfo]; h.config.RequestInfo && len(info) > 0 {
		light.Header = nats.Header{requestInfo: info}
	}
	return light
}

// leadingScope is what names a scope at the beginning of the tokens of a subject. Requests to
// malformed subjects count there.
func leadingScope(tokens string) (scope subjects.Scope) {
	for range subjects.MaxScopeLevels {
		token, rest, more := strings.Cut(tokens, ".")
		longer, err := subjects.ParseScope(strings.TrimPrefix(string(scope)+"/"+token, "/"))
		if err != nil || token == "" {
			return scope
		}
		if scope = longer; !more {
			return scope
		}
		tokens = rest
	}
	return scope
}

// admitJob is admit for a job on its way into the queue.
func (h *Handler) admitJob(msg *nats.Msg) (*limits.Pass, error) {
	_, scope, _, err := h.config.Prefix.ParseJob(msg.Subject)
	if err != nil {
		_, tokens, _ := strings.Cut(strings.TrimPrefix(msg.Subject, strings.TrimSuffix(h.config.Prefix.Jobs(), ">")), ".")
		scope = leadingScope(tokens)
	}
	pass, err := h.config.Limits.Admit(time.Now(), scope, msg.Size())
	return pass, h.limited(err)
}

// narrow counts a request under the limits of the scope that it names, below its subject's.
// Batches count each item instead.
func (h *Handler) narrow(c *call, scope *subjects.Scope) error {
	if scope == nil || c.endpoint.ofItems {
		return nil
	}
	return h.limited(c.pass.Narrow(time.Now(), *scope))
}

// beginning is resolve for the items of a batch. It counts each under the limits, and records
// that it begins.
func (h *Handler) beginning(c *call, resolve manager.Resolve) manager.Resolve {
	if c.pass == nil && !h.config.Audit.Required(c.endpoint.command) {
		return resolve
	}
	return func(target subjects.Target) (subjects.Target, error) {
		target, err := resolve(target)
		if err == nil {
			err = h.limited(c.pass.Item(time.Now(), target.Scope))
		}
		if err == nil {
			err = h.recordBegin(h.ctx, c, target)
		}
		return target, err
	}
}

// limited counts a refusal by a limit, and says so in the log.
func (h *Handler) limited(err error) error {
	if err == nil {
		return nil
	}
	h.counts.limited.Add(1)
	h.counts.warnFull.Do(func() { // at most once a minute
		h.config.Logger.Warn("requests are refused, since a scope has reached its limit", "reason", err, "refused", h.counts.limited.Load())
	})
	return err
}
