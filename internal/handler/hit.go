package handler

import (
	"bytes"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// timeEvery is how many hits one is timed of, for the statistics: reading the
// clock twice would be a tenth of what a hit costs.
const timeEvery = 16

// hitOr returns a callback that answers what the cache holds, and leaves all
// else, bad requests included, to serve. It is of one subscription, whose
// callbacks do not overlap, and so has buffers of its own.
func (h *Handler) hitOr(serve nats.MsgHandler) nats.MsgHandler {
	const usual = 4 << 10 // bytes of a reply; a larger one grows the buffer
	var (
		scope = make([]byte, 0, subjects.MaxScopeLen)
		reply = make([]byte, 0, usual)
		stats = h.service.endpoints[subjects.Retrieve]
		hits  int64
	)
	return func(msg *nats.Msg) {
		lookup, ok := subjects.ReadLookup(msg.Data)
		if !ok || lookup.Fresh || !h.isInbox(msg.Reply) {
			serve(msg)
			return
		}
		var begun time.Time
		timed := hits%timeEvery == 0
		if timed || lookup.Deadline != 0 {
			begun = time.Now()
		}
		if lookup.Deadline != 0 && begun.UnixMilli() >= lookup.Deadline {
			serve(msg)
			return
		}
		if scope, ok = h.config.Prefix.AppendScope(scope[:0], subjects.Retrieve, msg.Subject); !ok {
			serve(msg)
			return
		}
		target := scope
		if len(lookup.Scope) > 0 {
			if !contains(scope, lookup.Scope) {
				serve(msg)
				return
			}
			target = lookup.Scope
		}
		if reply, ok = h.config.Manager.Hit(reply[:0], target, lookup.ID, lookup.Revision); !ok {
			serve(msg)
			return
		}
		reply = h.config.Replica.AppendApplied(reply)
		if len(reply) > h.replyLimit() {
			clear(reply)
			serve(msg)
			return
		}
		if err := h.config.Conn.Publish(msg.Reply, reply); err != nil {
			h.config.Logger.Warn("reply could not be sent", "command", subjects.Retrieve, "error", err)
		}
		clear(reply)
		hits++
		stats.requests.Add(1)
		if timed {
			stats.nanoseconds.Add(timeEvery * int64(time.Since(begun)))
		}
	}
}

// contains is subjects.Scope.Contains for scopes as bytes; outer is not the
// root.
func contains(outer, inner []byte) bool {
	return bytes.HasPrefix(inner, outer) && (len(inner) == len(outer) || inner[len(outer)] == '/')
}
