package subjects

import "time"

// The revision of a reply is its last field, written by AppendRevision: that
// is why encode of a reply leaves it out and field reads it.

// StoreReply says that a credential was stored.
type StoreReply struct {
	Target
	Version  string
	Revision Revision
}

func (r *StoreReply) encode(e *encoder) {
	r.Target.encode(e)
	e.str("version", r.Version)
}

func (r *StoreReply) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "version":
		r.Version = d.str(maxTextLen)
	case "revision":
		r.Revision = d.revision()
	default:
		return r.Target.field(d, name)
	}
	return true
}

func (c *Credential) about() (Scope, ID) { return c.Scope, c.ID }

func (c *Credential) encode(e *encoder) {
	e.str("scope", string(c.Scope))
	e.str("id", string(c.ID))
	e.str("version", c.Version)
	e.data(c.Data)
	c.Metadata.encode(e)
	e.str("damaged", c.Damaged)
	e.time("stale_since", c.StaleSince)
}

func (c *Credential) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "scope":
		c.Scope = d.scope()
	case "id":
		c.ID = d.id()
	case "version":
		c.Version = d.str(maxTextLen)
	case "data":
		c.Data = d.data()
	case "damaged":
		c.Damaged = d.str(maxTextLen)
	case "stale_since":
		c.StaleSince = d.time("stale_since")
	default:
		return c.Metadata.field(d, name)
	}
	return true
}

// RetrieveReply is a credential. Its Scope is the one it was found in, which
// with inherit may be an ancestor of the one that was asked for.
type RetrieveReply struct {
	Credential
	Revision Revision
}

func (r *RetrieveReply) field(d *decoder, name []byte) bool {
	if string(name) == "revision" {
		r.Revision = d.revision()
		return true
	}
	return r.Credential.field(d, name)
}

// DeleteReply says that a credential was deleted.
type DeleteReply struct {
	Target
	Revision Revision
}

func (r *DeleteReply) field(d *decoder, name []byte) bool {
	if string(name) == "revision" {
		r.Revision = d.revision()
		return true
	}
	return r.Target.field(d, name)
}

// ListReply is a page of a list.
type ListReply struct {
	Items    []Credential // without Data
	Cursor   string       // "" on the last page
	Revision Revision
}

func (r *ListReply) encode(e *encoder) {
	e.array("items", len(r.Items))
	for i := range r.Items {
		e.message(&r.Items[i])
	}
	e.str("cursor", r.Cursor)
}

func (r *ListReply) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "items":
		r.Items = messages[Credential](d, MaxListItems, nil)
	case "cursor":
		r.Cursor = d.str(MaxCursorLen)
	case "revision":
		r.Revision = d.revision()
	default:
		return false
	}
	return true
}

// Status is the outcome of a validation.
type Status string

// The outcomes of a validation.
const (
	Valid     Status = "valid"
	Expired   Status = "expired"
	Missing   Status = "not_found"
	Malformed Status = "malformed" // stored, but it cannot be read or opened
)

// ValidateReply says whether a credential is valid, judged from what is
// stored, without asking whoever issued it.
type ValidateReply struct {
	Target
	Status  Status
	Version string
	Expires time.Time // zero: never, which is valid
	Checked time.Time // the worker's clock at the check
	// RotationDue is set when the value is older than its rotation policy
	// allows, or has less than a quarter of its life left; Reason says which.
	RotationDue bool
	Reason      string
	Revision    Revision
}

func (r *ValidateReply) encode(e *encoder) {
	r.Target.encode(e)
	e.str("status", string(r.Status))
	e.str("version", r.Version)
	e.time("expires", r.Expires)
	e.time("checked", r.Checked)
	e.boolean("rotation_due", r.RotationDue)
	e.str("reason", r.Reason)
}

func (r *ValidateReply) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "status":
		r.Status = Status(d.str(maxTextLen))
	case "version":
		r.Version = d.str(maxTextLen)
	case "expires":
		r.Expires = d.time("expires")
	case "checked":
		r.Checked = d.time("checked")
	case "rotation_due":
		r.RotationDue = d.boolean()
	case "reason":
		r.Reason = d.str(maxTextLen)
	case "revision":
		r.Revision = d.revision()
	default:
		return r.Target.field(d, name)
	}
	return true
}

// ClearCacheReply names the replicas that dropped their entries, and those
// known of that did not say so in time.
type ClearCacheReply struct {
	Replicas []string
	Missing  []string
	Revision Revision
}

// MaxReplicas bounds the lists of replicas in replies.
const MaxReplicas = 1000

func (r *ClearCacheReply) encode(e *encoder) {
	e.strings("replicas", r.Replicas)
	e.strings("missing", r.Missing)
}

func (r *ClearCacheReply) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "replicas":
		r.Replicas = d.strings(MaxReplicas, maxTextLen)
	case "missing":
		r.Missing = d.strings(MaxReplicas, maxTextLen)
	case "revision":
		r.Revision = d.revision()
	default:
		return false
	}
	return true
}

// Error is also a body: that of an error reply.

func (e *Error) encode(enc *encoder) {
	enc.str("code", string(e.Code))
	enc.str("message", e.Message)
	enc.str("scope", string(e.Scope))
	enc.str("id", string(e.ID))
	enc.boolean("retryable", e.Retryable)
	enc.boolean("outcome_unknown", e.OutcomeUnknown)
}

func (e *Error) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "code":
		e.Code = Code(d.str(maxTextLen))
	case "message":
		e.Message = d.str(8 * maxTextLen)
	case "scope":
		e.Scope = d.scope()
	case "id":
		e.ID = d.id()
	case "retryable":
		e.Retryable = d.boolean()
	case "outcome_unknown":
		e.OutcomeUnknown = d.boolean()
	case "revision":
		e.Revision = d.revision()
	default:
		return false
	}
	return true
}
