package subjects

import "time"

// Envelope is what every request may carry beside its arguments.
type Envelope struct {
	// RequestID names the request. A write that is repeated with the same id,
	// at most 64 characters, takes effect once while nobody else writes there.
	RequestID string
	// Timeout is how long the sender goes on waiting from when it sends, in
	// whole milliseconds. The worker counts from when it receives the request,
	// so that their clocks need not agree, and does not begin a request whose
	// time is up. Zero: the worker's own limits hold.
	Timeout time.Duration
	// Deadline says the same as a time, by the sender's clock: it needs clocks
	// that agree. If both are given, the earlier ends the request.
	Deadline time.Time
	// Revision is the least revision that the answer must reflect, zero for
	// any.
	Revision Revision
}

// MaxRequestIDLen bounds RequestID, in bytes.
const MaxRequestIDLen = 64

func (v *Envelope) encode(e *encoder) {
	e.str("request_id", v.RequestID)
	if !v.Deadline.IsZero() {
		e.integer("deadline", v.Deadline.UnixMilli())
	}
	e.milliseconds("timeout", v.Timeout)
	e.revision("revision", v.Revision)
}

// Until is when the sender stops waiting for a request that was received at a
// time, or the zero time if it did not say.
func (v *Envelope) Until(received time.Time) time.Time {
	if v.Timeout <= 0 {
		return v.Deadline
	}
	until := received.Add(v.Timeout)
	if !v.Deadline.IsZero() && v.Deadline.Before(until) {
		return v.Deadline
	}
	return until
}

func (v *Envelope) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "request_id":
		v.RequestID = d.str(MaxRequestIDLen)
		if v.RequestID == "" {
			d.refusef("request_id is empty: leave it out, or give the request a name")
		}
	case "deadline": // milliseconds of Unix time
		if ms := d.integer(); ms != 0 {
			v.Deadline = time.UnixMilli(ms).UTC()
		}
	case "timeout":
		v.Timeout = d.milliseconds()
	case "revision":
		v.Revision = d.revision()
	default:
		return false
	}
	return true
}

// ofEnvelope reports whether an Envelope has a field of that name.
func ofEnvelope(name []byte) bool {
	switch string(name) {
	case "request_id", "deadline", "timeout", "revision":
		return true
	}
	return false
}

// envelope makes the Envelope of any request reachable through Request.
func (v *Envelope) envelope() *Envelope { return v }

// Request is a Message that a client sends.
type Request interface {
	Message
	envelope() *Envelope
}

// EnvelopeOf is the envelope of a request.
func EnvelopeOf(r Request) *Envelope { return r.envelope() }

// Target is the credential that a command or an item of a batch is about. An
// empty Scope stands for the scope of the subject.
type Target struct {
	Scope Scope
	ID    ID
}

// String is scope/id.
func (t Target) String() string { return string(t.Scope) + "/" + string(t.ID) }

func (t *Target) about() (Scope, ID) { return t.Scope, t.ID }

func (t *Target) encode(e *encoder) {
	e.str("scope", string(t.Scope))
	e.str("id", string(t.ID))
}

func (t *Target) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "scope":
		t.Scope = d.scope()
	case "id":
		t.ID = d.id()
	default:
		return false
	}
	return true
}

// StoreItem is one credential to store.
type StoreItem struct {
	Target
	Data Data
	// Metadata replaces what was there. Created and Modified are the
	// worker's to set.
	Metadata
	// At most one precondition: the credential must not exist, must exist, or
	// must be at a version.
	CreateOnly bool
	UpdateOnly bool
	Version    string
}

func (s *StoreItem) encode(e *encoder) {
	s.Target.encode(e)
	e.data(s.Data)
	s.Metadata.encode(e)
	e.boolean("create_only", s.CreateOnly)
	e.boolean("update_only", s.UpdateOnly)
	e.str("version", s.Version)
}

func (s *StoreItem) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "data", "value":
		s.Data = d.dataOr(s.Data, name)
	case "create_only":
		s.CreateOnly = d.boolean()
	case "update_only":
		s.UpdateOnly = d.boolean()
	case "version":
		s.Version = d.version()
	default:
		return s.Target.field(d, name) || s.Metadata.field(d, name)
	}
	return true
}

func (m *Metadata) encode(e *encoder) {
	e.time("created", m.Created)
	e.time("modified", m.Modified)
	e.time("expires", m.Expires)
	e.str("description", m.Description)
	e.tags(m.Tags)
	e.integer("rotation_days", int64(m.RotationDays))
	e.boolean("inheritable", m.Inheritable)
}

func (m *Metadata) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "created":
		m.Created = d.time("created")
	case "modified":
		m.Modified = d.time("modified")
	case "expires":
		m.Expires = d.time("expires")
	case "description":
		m.Description = d.str(4 * MaxDescriptionLen)
	case "tags":
		m.Tags = d.tags()
	case "rotation_days":
		m.RotationDays = d.rotationDays()
	case "inheritable":
		m.Inheritable = d.boolean()
	default:
		return false
	}
	return true
}

// StoreRequest creates or replaces a credential.
type StoreRequest struct {
	Envelope
	StoreItem
}

func (r *StoreRequest) encode(e *encoder) { r.StoreItem.encode(e); r.Envelope.encode(e) }
func (r *StoreRequest) field(d *decoder, name []byte) bool {
	return r.StoreItem.field(d, name) || r.Envelope.field(d, name)
}

// RetrieveItem is one credential to retrieve.
type RetrieveItem struct {
	Target
	// Inherit also accepts the nearest ancestor scope's credential of that ID
	// that is inheritable.
	Inherit bool
	// Fresh reads the store itself.
	Fresh bool
}

func (r *RetrieveItem) encode(e *encoder) {
	r.Target.encode(e)
	e.boolean("inherit", r.Inherit)
	e.boolean("fresh", r.Fresh)
}

func (r *RetrieveItem) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "inherit":
		r.Inherit = d.boolean()
	case "fresh":
		r.Fresh = d.boolean()
	default:
		return r.Target.field(d, name)
	}
	return true
}

// RetrieveRequest asks for one credential.
type RetrieveRequest struct {
	Envelope
	RetrieveItem
}

func (r *RetrieveRequest) encode(e *encoder) { r.RetrieveItem.encode(e); r.Envelope.encode(e) }
func (r *RetrieveRequest) field(d *decoder, name []byte) bool {
	return r.RetrieveItem.field(d, name) || r.Envelope.field(d, name)
}

// DeleteItem is one credential to delete; a Version is a precondition.
type DeleteItem struct {
	Target
	Version string
}

func (r *DeleteItem) encode(e *encoder) {
	r.Target.encode(e)
	e.str("version", r.Version)
}

func (r *DeleteItem) field(d *decoder, name []byte) bool {
	if string(name) == "version" {
		r.Version = d.version()
		return true
	}
	return r.Target.field(d, name)
}

// DeleteRequest deletes a credential.
type DeleteRequest struct {
	Envelope
	DeleteItem
}

func (r *DeleteRequest) encode(e *encoder) { r.DeleteItem.encode(e); r.Envelope.encode(e) }
func (r *DeleteRequest) field(d *decoder, name []byte) bool {
	return r.DeleteItem.field(d, name) || r.Envelope.field(d, name)
}

// ValidateRequest checks one credential.
type ValidateRequest struct {
	Envelope
	Target
}

func (r *ValidateRequest) encode(e *encoder) { r.Target.encode(e); r.Envelope.encode(e) }
func (r *ValidateRequest) field(d *decoder, name []byte) bool {
	return r.Target.field(d, name) || r.Envelope.field(d, name)
}

// Paging selects a page of a list.
type Paging struct {
	// Cursor is that of the page before, or empty.
	Cursor string
	// Limit is the most items of a page: 1 to MaxListItems, 0 for
	// DefaultListItems. A page may be shorter and still have a cursor.
	Limit int
}

// DefaultListItems is the size of a page whose request names none.
const DefaultListItems = 100

func (p *Paging) encode(e *encoder) {
	e.str("cursor", p.Cursor)
	e.integer("limit", int64(p.Limit))
}

func (p *Paging) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "cursor":
		p.Cursor = d.str(MaxCursorLen)
	case "limit":
		if n := d.integer(); n < 0 || n > MaxListItems {
			d.refusef("limit is %d: 1 to %d are allowed", n, MaxListItems)
		} else {
			p.Limit = int(n)
		}
	default:
		return false
	}
	return true
}

// Filter selects credentials by what is known of them. All that is set must
// match.
type Filter struct {
	Tags          map[string]string
	IDPrefix      string
	ExpiresBefore time.Time
}

// IsZero reports whether f selects nothing in particular.
func (f *Filter) IsZero() bool {
	return len(f.Tags) == 0 && f.IDPrefix == "" && f.ExpiresBefore.IsZero()
}

func (f *Filter) encode(e *encoder) {
	e.tags(f.Tags)
	e.str("id_prefix", f.IDPrefix)
	e.time("expires_before", f.ExpiresBefore)
}

func (f *Filter) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "tags":
		f.Tags = d.tags()
	case "id_prefix":
		f.IDPrefix = d.str(MaxIDLen)
	case "expires_before":
		f.ExpiresBefore = d.time("expires_before")
	default:
		return false
	}
	return true
}

// ListRequest asks for IDs and metadata of a scope and all below it.
type ListRequest struct {
	Envelope
	Paging
	Scope Scope
	Filter
}

func (r *ListRequest) encode(e *encoder) {
	e.str("scope", string(r.Scope))
	r.Filter.encode(e)
	r.Paging.encode(e)
	r.Envelope.encode(e)
}

func (r *ListRequest) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "scope":
		r.Scope = d.scope()
	default:
		return r.Filter.field(d, name) || r.Paging.field(d, name) || r.Envelope.field(d, name)
	}
	return true
}

// ClearCacheRequest drops cached entries on every replica: all of a scope and
// below, or one credential when an ID is given.
type ClearCacheRequest struct {
	Envelope
	Target
}

func (r *ClearCacheRequest) encode(e *encoder) { r.Target.encode(e); r.Envelope.encode(e) }
func (r *ClearCacheRequest) field(d *decoder, name []byte) bool {
	return r.Target.field(d, name) || r.Envelope.field(d, name)
}

// AdminCacheStatsRequest asks every replica for its statistics.
type AdminCacheStatsRequest struct{ Envelope }

// CacheStatsRequest asks every replica what it has cached of a scope and all below it.
type CacheStatsRequest struct {
	Envelope
	Scope Scope
}

func (r *CacheStatsRequest) encode(e *encoder) {
	e.str("scope", string(r.Scope))
	r.Envelope.encode(e)
}

func (r *CacheStatsRequest) field(d *decoder, name []byte) bool {
	if string(name) == "scope" {
		r.Scope = d.scope()
		return true
	}
	return r.Envelope.field(d, name)
}
