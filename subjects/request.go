package subjects

import (
	"cmp"
	"fmt"
	"time"
)

// Envelope is what every request may carry beside its arguments.
type Envelope struct {
	// RequestID names a store or patch. If it is sent again under the same name, and nobody
	// else has written the credential in between, it takes effect once.
	RequestID string `wire:"request_id,max=MaxRequestIDLen,read=requestID"`
	// Deadline is when the sender stops waiting, by its clock: Timeout says the same
	// and needs no clocks that agree. If both are given, the earlier ends the request.
	Deadline time.Time `wire:"deadline,unix"`
	// Timeout is how long the sender waits from when it sends. The worker counts from
	// when it receives the request, so that their clocks need not agree, and does not
	// begin a request whose time is up. With 0 the worker's own limits hold.
	Timeout time.Duration `wire:"timeout"`
	// Revision is the least revision that the answer must reflect: any, if it is left out.
	Revision Revision `wire:"revision"`
}

// MaxRequestIDLen bounds RequestID, in bytes.
const MaxRequestIDLen = 64

// Until is when the sender of a request, received at that time, stops waiting. It is the
// zero time if the sender did not say.
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

// ofEnvelope reports whether an Envelope has a field of that name.
func ofEnvelope(name []byte) bool {
	switch string(name) {
	case "request_id", "deadline", "timeout", "revision":
		return true
	}
	return false
}

// envelope gives any request that embeds an Envelope the method of Request.
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
	Scope Scope `wire:"scope"` // in a request, that of the subject if it is empty
	ID    ID    `wire:"id"`    // of the credential, or of the job
}

// String is scope/id, which is unambiguous since an ID holds no colon.
func (t Target) String() string { return string(t.Scope) + "/" + string(t.ID) }

// Compare orders targets by scope (Scope.Compare), then by ID in byte order.
func (t Target) Compare(other Target) int {
	return cmp.Or(t.Scope.Compare(other.Scope), cmp.Compare(t.ID, other.ID))
}

// Check refuses what names no credential, with ErrInvalid.
func (t Target) Check() error {
	if _, err := ParseScope(string(t.Scope)); err != nil {
		return err
	}
	if t.Scope == Root {
		return fmt.Errorf("%w: the root scope holds no credentials", ErrInvalid)
	}
	_, err := ParseID(string(t.ID))
	return err
}

func (t *Target) about() (Scope, ID) { return t.Scope, t.ID }

// StoreItem is one credential to store.
type StoreItem struct {
	Target
	Data Data `wire:"data,short=value"`
	// Metadata replaces what was there. Created and Modified are the
	// worker's to set.
	Metadata

	// At most one of these is set.

	CreateOnly bool   `wire:"create_only"`          // the credential must not exist
	UpdateOnly bool   `wire:"update_only"`          // the credential must exist
	Version    string `wire:"version,read=version"` // the credential must be at this version
}

// StoreRequest creates or replaces a credential.
type StoreRequest struct {
	Envelope
	StoreItem
}

// RetrieveItem is one credential to retrieve.
type RetrieveItem struct {
	Target
	// Inherit accepts a credential of that ID in a scope above, too: the nearest one that
	// is inheritable.
	Inherit bool `wire:"inherit"`
	// Fresh reads the store, past every cache.
	Fresh bool `wire:"fresh"`
}

// RetrieveRequest asks for one credential.
type RetrieveRequest struct {
	Envelope
	RetrieveItem
}

// DeleteItem is one credential to delete; a Version is a precondition.
type DeleteItem struct {
	Target
	Version string `wire:"version,read=version"` // the credential must be at this version
}

// DeleteRequest deletes a credential.
type DeleteRequest struct {
	Envelope
	DeleteItem
}

// ValidateRequest checks one credential.
type ValidateRequest struct {
	Envelope
	Target
}

// Paging selects a page of a list.
type Paging struct {
	// Cursor is that of the page before: the first page, if it is left out. It is refused by
	// a list of another command, scope or filter.
	Cursor string `wire:"cursor,max=MaxCursorLen"`
	// Limit is the most items of a page, DefaultListItems if it is 0. A page may be
	// shorter and still have a cursor.
	Limit int `wire:"limit,most=MaxListItems"`
}

// MaxCursorLen bounds a cursor, in bytes. Cursors of some stores take 4,096, and are
// carried as text.
const MaxCursorLen = 8 << 10

// DefaultListItems is the size of a page whose request names none.
const DefaultListItems = 100

// Filter selects credentials by their metadata. All fields that are set must match.
type Filter struct {
	Tags          map[string]string `wire:"tags"`                   // selects credentials that have all of these
	IDPrefix      string            `wire:"id_prefix,max=MaxIDLen"` // selects IDs that begin with it
	ExpiresBefore time.Time         `wire:"expires_before"`         // selects what expires before that time
}

// IsZero reports whether f has no field set.
func (f *Filter) IsZero() bool {
	return len(f.Tags) == 0 && f.IDPrefix == "" && f.ExpiresBefore.IsZero()
}

// ListRequest asks for IDs and metadata of a scope and all below it.
type ListRequest struct {
	Envelope
	Scope Scope `wire:"scope"`
	Filter
	Paging
}

// ClearCacheRequest drops cached entries on every replica: those of a scope and below, or of
// one credential if an ID is given.
type ClearCacheRequest struct {
	Envelope
	Target
}

// AdminCacheStatsRequest asks every replica for its statistics.
type AdminCacheStatsRequest struct{ Envelope }

// CacheStatsRequest asks every replica what it has cached of a scope and all below it.
type CacheStatsRequest struct {
	Envelope
	Scope Scope `wire:"scope"`
}
