package subjects

import "time"

// The revision of a reply is its last field, and AppendRevision writes it. So the encode
// method of a reply leaves it out, but the field method reads it.

// StoreReply says that a credential was stored.
type StoreReply struct {
	Target
	Version  string   `wire:"version"`
	Revision Revision `wire:"revision,reply"`
}

func (c *Credential) about() (Scope, ID) { return c.Scope, c.ID }

// RetrieveReply is a credential. Its Scope says where it was found: with inherit, that may be
// above the scope of the request.
//
//contract:never damaged
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
	Cursor   string       `wire:"cursor,max=MaxCursorLen"`       // left out on the last page
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

// ValidateReply says whether a credential is valid. The worker judges by what is stored, and
// does not ask the issuer.
type ValidateReply struct {
	Target
	Status  Status    `wire:"status"`
	Version string    `wire:"version"`
	Expires time.Time `wire:"expires"` // never, if it is left out, which is valid
	Checked time.Time `wire:"checked"` // when, by the worker's clock
	// RotationDue is set if the values have expired, are older than the rotation policy
	// allows, or have less than a quarter of their life left. Reason says which.
	RotationDue bool     `wire:"rotation_due"`
	Reason      string   `wire:"reason"` // a text for people
	Revision    Revision `wire:"revision,reply"`
}

// ClearCacheReply names the replicas.
type ClearCacheReply struct {
	Replicas []string `wire:"replicas,max=MaxReplicas"` // those that dropped their entries
	Missing  []string `wire:"missing,max=MaxReplicas"`  // the others, which did not answer in time
	Revision Revision `wire:"revision,reply"`
}

// MaxReplicas bounds the lists of replicas in replies.
const MaxReplicas = 1000

// Error is also a body: that of an error reply.
