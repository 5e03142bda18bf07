package client

import "credbus/subjects"

// The terms of the contract, so that most programs import this package alone.
type (
	// Scope is a path of level:value segments, "org:acme/team:eng".
	Scope = subjects.Scope
	// ID names a credential within its scope.
	ID = subjects.ID
	// Target is a scope and an ID.
	Target = subjects.Target
	// Data is what a credential holds: named values.
	Data = subjects.Data
	// Secret is one value. It prints as "[redacted]".
	Secret = subjects.Secret
	// Revision is a place in the order of all changes.
	Revision = subjects.Revision
)

// Value makes the Data of a single, unnamed value. It does not copy b, which
// stays the caller's to wipe once it is stored.
func Value(b []byte) Data { return subjects.Value(b) }

// Credential is what Retrieve, List and Describe return. Printing one shows no value.
// Call Wipe, which overwrites the values with zeros, after their last use.
//
// Its values lie in the buffer that the reply came in; those of a batch lie in
// one buffer, which lives as long as any of them.
type Credential struct{ subjects.Credential }

// Value is the single, unnamed value: not a copy, nil after Wipe, from List and
// Describe, and for a credential that has named values only, which are in Data.
func (c *Credential) Value() []byte { return c.Data[subjects.ValueName].Bytes() }
