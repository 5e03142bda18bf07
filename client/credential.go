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
	// Data holds the named values of a credential.
	Data = subjects.Data
	// Secret is one value. It prints as "[redacted]".
	Secret = subjects.Secret
	// Revision is a place in the order of all changes.
	Revision = subjects.Revision
)

// Value makes the Data of a single, unnamed value. It does not copy b: the
// caller must wipe b after the store.
func Value(b []byte) Data { return subjects.Value(b) }

// Credential is what Retrieve, List and Describe return. Printing one shows no value.
// Call Wipe, which overwrites the values with zeros, after their last use.
//
// Its values are parts of the buffer of the reply. Those of a batch share one
// buffer, which lives as long as any of them.
type Credential struct{ subjects.Credential }

// Value returns the single, unnamed value, without a copy. It is nil after Wipe,
// from List and Describe, and if the credential has only named values: see Data.
func (c *Credential) Value() []byte { return c.Data[subjects.ValueName].Bytes() }
