package handler

import (
	"context"
	"encoding/json"

	"github.com/nats-io/nats.go"

	"credbus/internal/audit"
	"credbus/internal/manager"
	"credbus/subjects"
)

// AuditPages reads the audit log that the workers keep in a stream.
type AuditPages interface {
	Page(context.Context, *subjects.AuditRequest, subjects.Room) (*subjects.AuditReply, error)
}

var errNoAudit = subjects.Errorf(subjects.StorageUnavailable, "this worker keeps no audit log in a stream: its setting audit.level is off, or audit.sink is file")

// ofAudit marks the command that needs the audit log in a stream.
func (h *Handler) ofAudit(e *endpoint) *endpoint {
	if h.config.AuditPages == nil {
		e.off = errNoAudit
	}
	return e
}

// auditPage is of all scopes, so it refuses the subject of one: who may use that must not see others.
func (h *Handler) auditPage(ctx context.Context, c *call, r *subjects.AuditRequest) ([]byte, subjects.Revision, error) {
	if c.scope != subjects.Root {
		return nil, subjects.Revision{}, subjects.Errorf(subjects.InvalidArgument, "the audit log has the records of all scopes: send the request to %s, without a scope", h.config.Prefix.Command(subjects.Audit, subjects.Root))
	}
	reply, err := h.config.AuditPages.Page(ctx, r, h.room(c))
	return open(c, reply, err)
}

// What the audit log gets of a request:
//
//	recordBegin   before a change, if records are required: one for each credential
//	recordReply   after the command, before its reply goes out
//	recordRefusal with an error
//	hits          hit.go collects them, and hands them over before the replies go out
//
// If records are required, the first two can refuse the request.

// recordBegin records that a change begins, so that none takes effect without a record. The items
// of a batch begin one by one.
func (h *Handler) recordBegin(ctx context.Context, c *call, target subjects.Target) error {
	if !h.config.Audit.Required(c.endpoint.command) {
		return nil
	}
	switch {
	case c.endpoint.command == subjects.Audit:
		return nil // the log must be there to read when it takes nothing more
	case !c.endpoint.command.Changes():
		return h.config.Audit.Ready()
	}
	if c.endpoint.ofItems && target.ID == "" {
		return h.config.Audit.Ready() // each item follows
	}
	entry := h.entry(c, target, audit.Begun)
	return h.config.Audit.Put(ctx, entry)
}

// recordReply records what a reply says. Its error is the reason not to give it.
func (h *Handler) recordReply(c *call, revision subjects.Revision) error {
	if !c.records {
		return nil
	}
	entries := make([]audit.Entry, 0, max(1, len(c.told)))
	for _, told := range c.told {
		entry := h.entry(c, told.Target, audit.OK)
		if told.Err != nil {
			entry.Outcome, entry.Unknown = string(told.Err.Code), told.Err.OutcomeUnknown
		}
		entry.Version, entry.Revision = told.Version, told.Revision
		if entry.Revision.IsZero() {
			entry.Revision = revision
		}
		entries = append(entries, entry)
	}
	if len(entries) == 0 {
		entry := h.entry(c, c.target, audit.OK)
		entry.Revision = revision
		entries = append(entries, entry)
	}
	if c.endpoint.command.Changes() || c.endpoint.command == subjects.Audit {
		h.config.Audit.Note(entries...) // recordBegin has what must be there
		return nil
	}
	return h.config.Audit.Put(h.ctx, entries...)
}

// recordRefusal records an error. It waits for nothing, since it gives nothing.
func (h *Handler) recordRefusal(c *call, told *subjects.Error) {
	if !c.records {
		return
	}
	target := c.target
	if target.Scope == subjects.Root {
		target.Scope = c.scope
	}
	entry := h.entry(c, target, string(told.Code))
	entry.Unknown, entry.Revision = told.OutcomeUnknown, told.Revision
	h.config.Audit.Note(entry)
}

func (h *Handler) entry(c *call, target subjects.Target, outcome string) audit.Entry {
	account, user := h.caller(c.msg)
	return audit.Entry{
		Command: c.endpoint.command, Target: target, Outcome: outcome,
		Caller: audit.Caller{Authority: c.scope, Account: account, User: user},
	}
}

// requestInfo is the header with which servers tell the exporter of a service who asks, if the
// import shares that.
const requestInfo = "Nats-Request-Info"

// caller is who NATS says has sent a request, empty if it does not.
func (h *Handler) caller(msg *nats.Msg) (account, user string) {
	if !h.config.RequestInfo || len(msg.Header) == 0 {
		return "", ""
	}
	var info struct {
		Account string `json:"acc"`
		User    string `json:"user"`
	}
	if text := msg.Header.Get(requestInfo); text == "" || json.Unmarshal([]byte(text), &info) != nil {
		return "", ""
	}
	return info.Account[:min(len(info.Account), maxName)], info.User[:min(len(info.User), maxName)]
}

// maxName bounds the names in a record, in bytes: a client may have made them up.
const maxName = 256

// headOf is the summary of an encoded reply to retrieve.
func headOf(reply []byte) []subjects.Summary {
	scope, id, version, ok := subjects.ReadHead(reply)
	if !ok {
		return nil
	}
	return []subjects.Summary{{Target: subjects.Target{Scope: subjects.Scope(scope), ID: subjects.ID(id)}, Version: string(version)}}
}

// submit is Jobs.Submit, and records the job. What its items do is recorded when they are done.
func (h *Handler) submit(msg *nats.Msg) (answer []byte) {
	command, scope, id, err := h.config.Prefix.ParseJob(msg.Subject)
	if err != nil || !h.config.Audit.Wants(command) {
		return h.config.Jobs.Submit(h.ctx, msg)
	}
	account, user := h.caller(msg)
	entry := audit.Entry{
		Command: audit.JobPrefix + command, Target: subjects.Target{Scope: scope, ID: id},
		Caller: audit.Caller{Authority: scope, Account: account, User: user},
	}
	if h.config.Audit.Required(command) {
		entry.Outcome = audit.Begun
		if err := h.config.Audit.Put(h.ctx, entry); err != nil {
			told, _ := manager.Explain(err, subjects.Target{})
			return notAccepted(told)
		}
	}
	answer = h.config.Jobs.Submit(h.ctx, msg)
	entry.Outcome, entry.Unknown = outcomeOf(answer), answer == nil
	h.config.Audit.Note(entry)
	return answer
}

// recordJobRefusal records a job that was refused before anything else looked at it.
func (h *Handler) recordJobRefusal(msg *nats.Msg, told *subjects.Error) {
	command, scope, id, err := h.config.Prefix.ParseJob(msg.Subject)
	if err != nil || !h.config.Audit.Wants(command) {
		return
	}
	account, user := h.caller(msg)
	h.config.Audit.Note(audit.Entry{
		Command: audit.JobPrefix + command, Target: subjects.Target{Scope: scope, ID: id}, Outcome: string(told.Code),
		Caller: audit.Caller{Authority: scope, Account: account, User: user},
	})
}

// outcomeOf is the outcome in the answer to a submitter.
func outcomeOf(answer []byte) string {
	var refused struct {
		Error struct {
			Code int `json:"code"`
		} `json:"error"`
	}
	switch {
	case answer == nil:
		return string(subjects.StorageTimeout)
	case json.Unmarshal(answer, &refused) != nil:
		return string(subjects.Internal)
	case refused.Error.Code == 0:
		return audit.OK
	}
	for _, code := range []subjects.Code{subjects.InvalidArgument, subjects.ResourceExhausted, subjects.StorageUnavailable} {
		if code.Number() == refused.Error.Code {
			return string(code)
		}
	}
	return string(subjects.Internal)
}
