package handler

import (
	"bytes"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/manager"
	"credbus/subjects"
)

// hits answers retrieves from the cache within the callbacks of one
// subscription, which do not overlap.
//
// Replies are held back while more requests wait, and published together: the
// connection is flushed by another goroutine, which wakes up at the first
// reply. Given them one by one it writes a few at a time, and those many small
// writes cost the server and the clients more than opening the entries costs
// the worker. When nothing waits, a reply goes out at once.
type hits struct {
	h        *Handler
	endpoint *endpoint // for all but plain hits, bad requests included

	scope   []byte
	replies []byte // one after the other
	held    []heldReply
	begun   time.Time // when the first of held was taken up
}

// asked is what is known of a retrieve when the cache was asked for it.
type asked struct {
	lookup subjects.Lookup // if plain
	plain  bool            // it was read by hand
	miss   manager.Miss
}

type heldReply struct {
	to  string
	end int // in replies
}

// What is held back at most.
const (
	mostHeld      = 64
	mostHeldBytes = 48 << 10
	// largestReply is room for the last one, so that no buffer is outgrown:
	// values of 64 KiB, and names and metadata at their limits in four-byte characters.
	largestReply = 168 << 10
)

// serveHits returns a callback for retrieves that answers what the cache holds, and leaves
// the rest to receive.
func (h *Handler) serveHits() nats.MsgHandler {
	s := &hits{
		h:        h,
		endpoint: h.endpoints[subjects.Retrieve],
		scope:    make([]byte, 0, subjects.MaxScopeLen),
		replies:  make([]byte, 0, mostHeldBytes+largestReply),
		held:     make([]heldReply, 0, mostHeld),
	}
	return s.handle
}

func (s *hits) handle(msg *nats.Msg) {
	var asked asked
	hit := false
	if asked.lookup, asked.plain = subjects.ReadLookup(msg.Data); asked.plain {
		asked.miss, hit = s.hit(msg, &asked.lookup)
	}
	if !hit {
		s.h.receive(s.endpoint, msg, asked)
	}
	if len(s.held) == 0 {
		return
	}
	// What is pending includes msg.
	if pending, _, err := msg.Sub.Pending(); err != nil || pending <= 1 ||
		len(s.held) == mostHeld || len(s.replies) >= mostHeldBytes {
		s.publish()
	}
}

// hit adds the reply to what is held, or reports false. If the cache was asked and has
// nothing, miss says so.
func (s *hits) hit(msg *nats.Msg, lookup *subjects.Lookup) (miss manager.Miss, ok bool) {
	if lookup.Fresh || !s.h.isInbox(msg.Reply) {
		return miss, false
	}
	if len(s.held) == 0 {
		s.begun = time.Now()
	}
	// The clock is read once for all that is held together, which takes less
	// than a deadline's millisecond.
	if lookup.Deadline != 0 && s.begun.UnixMilli() >= lookup.Deadline {
		return miss, false
	}
	if s.scope, ok = s.h.config.Prefix.AppendScope(s.scope[:0], subjects.Retrieve, msg.Subject); !ok {
		return miss, false
	}
	scope := s.scope
	if len(lookup.Scope) > 0 {
		if !contains(scope, lookup.Scope) {
			return miss, false
		}
		scope = lookup.Scope
	}
	begin := len(s.replies)
	replies, miss, ok := s.h.config.Manager.Hit(s.replies, scope, lookup.ID, lookup.Revision)
	if !ok {
		return miss, false
	}
	replies = s.h.config.Replica.AppendApplied(replies)
	if cap(replies) != cap(s.replies) {
		clear(s.replies) // it was outgrown
		s.replies = replies[:begin]
	}
	if len(replies)-begin > s.h.replyLimit() {
		clear(replies[begin:])
		return miss, false
	}
	s.replies = replies
	s.held = append(s.held, heldReply{to: msg.Reply, end: len(replies)})
	return miss, true
}

// publish sends what is held, and wipes it.
func (s *hits) publish() {
	begin := 0
	for _, reply := range s.held {
		if err := s.h.config.Conn.Publish(reply.to, s.replies[begin:reply.end]); err != nil {
			s.h.config.Logger.Warn("reply could not be sent", "command", subjects.Retrieve, "error", err)
		}
		begin = reply.end
	}
	s.endpoint.stats.requests.Add(int64(len(s.held)))
	s.endpoint.stats.nanoseconds.Add(int64(time.Since(s.begun)))
	clear(s.replies)
	clear(s.held)
	s.replies, s.held = s.replies[:0], s.held[:0]
}

// contains is subjects.Scope.Contains for scopes as bytes; outer is not the
// root.
func contains(outer, inner []byte) bool {
	return bytes.HasPrefix(inner, outer) && (len(inner) == len(outer) || inner[len(outer)] == '/')
}
