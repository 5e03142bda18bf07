package subjects

import "time"

// The revision of a reply is its last field, written by AppendRevision: that
// is why encode of a reply leaves it out and field reads it.

// StoreReply says that a credential was stored.
type StoreReply struct {
	Target
	Version  string   `wire:"version"`
	Revision Revision `wire:"revision,reply"`
}

func (c *Credential) about() (Scope, ID) { return c.Scope, c.ID }

// RetrieveReply is a credential. Its Scope is the one it was found in, which
// with inherit may be an ancestor of the one that was asked for.
type RetrieveReply struct {
	Credential
	Revision Revision `wire:"revision,reply"`
}

// DeleteReply says that a credential was deleted.
type DeleteReply struct {
	Target
	Revision Revision `wire:"revision,reply"`
}

// ListReply is a page of a list.
type ListReply struct {
	Items    []Credential `wire:"items,always,max=MaxListItems"` // without values
	Cursor   string       `wire:"cursor,max=MaxCursorLen"`       // "" on the last page
	Revision Revision     `wire:"revision,reply"`
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
	Status  Status    `wire:"status"`
	Version string    `wire:"version"`
	Expires time.Time `wire:"expires"` // empty: never, which is valid
	Checked time.Time `wire:"checked"` // the worker's clock at the check
	// RotationDue is set when the value is older than its rotation policy
	// allows, or has less than a quarter of its life left; Reason says which.
	RotationDue bool     `wire:"rotation_due"`
	Reason      string   `wire:"reason"` // a text for people
	Revision    Revision `wire:"revision,reply"`
}

// ClearCacheReply names the replicas that dropped their entries, and those
// known of that did not say so in time.
type ClearCacheReply struct {
	Replicas []string `wire:"replicas,max=MaxReplicas"`
	Missing  []string `wire:"missing,max=MaxReplicas"`
	Revision Revision `wire:"revision,reply"`
}

// MaxReplicas bounds the lists of replicas in replies.
const MaxReplicas = 1000

// Error is also a body: that of an error reply.
