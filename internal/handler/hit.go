package handler

import (
	"bytes"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/audit"
	"credbus/internal/manager"
	"credbus/internal/wireseal"
	"credbus/subjects"
)

// hits answers retrieves from the cache within the callbacks of one
// subscription, which do not overlap.
//
// Replies are held back while more requests wait, and are published together. Another
// goroutine flushes the connection, and wakes up at the first reply. If it got replies one
// by one, it would write a few at a time. These many small writes would cost the server
// and the clients more than the worker needs to open the entries. When no request waits,
// a reply goes out at once.
type hits struct {
	h        *Handler
	endpoint *endpoint // for all but plain hits, also for bad requests

	asked   asked // of the request at hand; not a variable of handle, since that would be allocated
	scope   []byte
	about   []byte
	open    []byte // a reply before it is sealed
	replies []byte // one after the other
	held    []heldReply
	begun   time.Time    // when work on the first of held began
	records *audit.Batch // of held, nil if hits are not recorded
}

// asked is what is known about a retrieve once the cache was asked.
type asked struct {
	lookup subjects.Lookup // if plain
	plain  bool            // ReadLookup could read it
	miss   manager.Miss
	// refused is set for a hit that is not given, since its scope has reached a limit.
	refused error
	opened  wireseal.Opened // if the request was sealed, and its session is known here
}

type heldReply struct {
	to  string
	end int // in replies
}

// The most that is held back.
const (
	mostHeld      = 64
	mostHeldBytes = 48 << 10
	// largestReply is room for the last reply, so that no buffer is outgrown: values of
	// 64 KiB, and names and metadata at their limits in four-byte characters.
	largestReply = 168 << 10
)

// serveHits returns a callback for retrieves. It answers from the cache, and leaves the rest
// to receive.
func (h *Handler) serveHits() nats.MsgHandler { return h.newHits().handle }

func (h *Handler) newHits() *hits {
	s := &hits{
		h:        h,
		endpoint: h.endpoints[subjects.Retrieve],
		scope:    make([]byte, 0, subjects.MaxScopeLen),
		open:     make([]byte, 0, largestReply),
		replies:  make([]byte, 0, mostHeldBytes+largestReply+wireseal.ReplyOverhead),
		held:     make([]heldReply, 0, mostHeld),
	}
	if h.config.Audit.Wants(subjects.Retrieve) {
		s.records = h.config.Audit.Batch()
	}
	return s
}

func (s *hits) handle(msg *nats.Msg) {
	s.asked = asked{}
	if !s.answer(msg, &s.asked) {
		s.h.receive(s.endpoint, msg, s.asked)
	}
	if len(s.held) == 0 {
		return
	}
	// pending includes msg.
	if pending, _, err := msg.Sub.Pending(); err != nil || pending <= 1 ||
		len(s.held) == mostHeld || len(s.replies) >= mostHeldBytes {
		s.publish()
	}
}

// answer answers a request with a hit, or reports false.
func (s *hits) answer(msg *nats.Msg, asked *asked) bool {
	body, ok := s.read(msg, asked)
	if !ok {
		return false
	}
	if asked.lookup, asked.plain = subjects.ReadLookup(body); !asked.plain || !s.hit(msg, asked) {
		return false
	}
	return s.h.admitClear(s.endpoint, msg, s.begun) == nil
}

// read returns the open body of a request. It reports false for one that dispatch must open, or
// that may not come in clear.
func (s *hits) read(msg *nats.Msg, asked *asked) (body []byte, ok bool) {
	if !wireseal.IsSealed(msg.Data) {
		return msg.Data, s.h.config.Wire.Clear != RefuseClear
	}
	s.about = append(s.about[:0], s.h.about(msg)...)
	if err := s.h.sealing.opener.Open(&asked.opened, msg.Data, s.about); err != nil {
		return nil, false
	}
	return asked.opened.Body, true
}

// hit adds the reply to the held ones, or reports false. If the cache was asked and has
// nothing, asked.miss says so.
func (s *hits) hit(msg *nats.Msg, asked *asked) (ok bool) {
	lookup := &asked.lookup
	if lookup.Fresh || !s.h.isInbox(msg.Reply) || s.h.config.Audit.Required(subjects.Retrieve) {
		return false // a hit does not wait for its record, so dispatch takes those that must
	}
	if len(s.held) == 0 {
		s.begun = time.Now()
	}
	// The clock is read once for all replies held together, which takes less than a
	// deadline's millisecond.
	if lookup.Deadline != 0 && s.begun.UnixMilli() >= lookup.Deadline {
		return false
	}
	if s.scope, ok = s.h.config.Prefix.AppendScope(s.scope[:0], subjects.Retrieve, msg.Subject); !ok {
		return false
	}
	scope := s.scope
	if len(lookup.Scope) > 0 {
		if !contains(scope, lookup.Scope) {
			return false
		}
		scope = lookup.Scope
	}
	if asked.opened.Sealed() {
		return s.sealedReply(msg, asked, scope)
	}
	begin := len(s.replies)
	replies, ok := s.reply(s.replies, msg, asked, scope)
	if cap(replies) != cap(s.replies) {
		clear(s.replies) // the reply has outgrown it
	}
	if s.replies = replies; !ok {
		clear(replies[begin:])
		s.replies = replies[:begin]
		return false
	}
	s.held = append(s.held, heldReply{to: msg.Reply, end: len(replies)})
	return true
}

// sealedReply is the end of hit for a sealed request.
func (s *hits) sealedReply(msg *nats.Msg, asked *asked, scope []byte) bool {
	open, ok := s.reply(s.open[:0], msg, asked, scope)
	defer clear(open)
	if cap(open) != cap(s.open) {
		clear(s.open[:cap(s.open)]) // the reply has outgrown it
	}
	if ok {
		s.replies = asked.opened.SealReply(s.replies, false, open)
		s.held = append(s.held, heldReply{to: msg.Reply, end: len(s.replies)})
	}
	return ok
}

// reply appends the open reply to dst, and its record to the records. It reports false if there
// is none, or it may not be given.
func (s *hits) reply(dst []byte, msg *nats.Msg, asked *asked, scope []byte) (_ []byte, ok bool) {
	begin := len(dst)
	dst, miss, ok := s.h.config.Manager.Hit(dst, scope, asked.lookup.ID, asked.lookup.Revision)
	if asked.miss = miss; !ok {
		return dst, false
	}
	end := len(dst)
	dst = s.h.config.Replica.AppendApplied(dst)
	reply := dst[begin:]
	if len(reply) > s.h.replyLimit(asked.opened.Sealed()) {
		return dst, false
	}
	if asked.refused = s.h.config.Limits.Take(s.begun, scope, msg.Size()+len(reply)); asked.refused != nil {
		return dst, false
	}
	if s.records != nil {
		s.record(msg, reply, dst[end:])
	}
	return dst, true
}

// record adds the record of a hit. applied is the end of the reply, its revision.
func (s *hits) record(msg *nats.Msg, reply, applied []byte) {
	scope, id, version, _ := subjects.ReadHead(reply) // as the worker encoded it
	account, user := s.h.caller(msg)
	s.records.Hit(s.begun, s.scope, scope, id, version, subjects.RevisionText(applied), account, user)
}

// publish sends the held replies, and wipes them.
func (s *hits) publish() {
	if s.records != nil {
		s.h.config.Audit.Take(s.records)
	}
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

// contains is subjects.Scope.Contains for scopes as bytes. outer must not be the root.
func contains(outer, inner []byte) bool {
	return bytes.HasPrefix(inner, outer) && (len(inner) == len(outer) || inner[len(outer)] == '/')
}
