package handler

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// checkInboxPrefix refuses a prefix under which replies could reach a subject that is no
// inbox.
func checkInboxPrefix(inbox string, own subjects.Prefix) error {
	inbox = strings.TrimSuffix(inbox, ".")
	switch {
	case inbox == "" || strings.ContainsAny(inbox, "*> \t\r\n"):
		return fmt.Errorf("inbox prefix %q (nats.inbox_prefixes): give a subject without wildcards, for example _INBOX", inbox)
	case strings.HasPrefix(inbox, "$"):
		return fmt.Errorf("inbox prefix %q (nats.inbox_prefixes): subjects that begin with $ belong to the server", inbox)
	case overlaps(inbox, string(own)):
		return fmt.Errorf("inbox prefix %q (nats.inbox_prefixes) reaches into %q, the subjects of commands and events: give another prefix", inbox, own)
	}
	return nil
}

func overlaps(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}

// accept reports whether a request can be answered at all. NATS does not check the reply
// subject: the replier must.
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
			h.config.Logger.Warn(what+"; its client times out. Add its prefix there, or let the client use one of those prefixes", "subject", msg.Subject, "reply", msg.Reply, "refused", h.counts.refusedReplies.Load())
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
