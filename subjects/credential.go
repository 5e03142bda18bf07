package subjects

import (
	"time"
	"unicode/utf8"
)

// Limits of what a credential holds.
const (
	MaxDataLen        = 64 << 10 // bytes of all values together; names do not count
	MaxDataNames      = 64
	MaxDataNameLen    = 253 // bytes; Kubernetes allows no more for a data key
	MaxTags           = 50
	MaxTagKeyLen      = 128 // characters
	MaxTagValueLen    = 256 // characters
	MaxDescriptionLen = 1024
	MaxRotationDays   = 36500
)

// Metadata describes a credential. None of it is secret: stores keep it in clear, and list
// shows it.
type Metadata struct {
	Description string            `wire:"description,chars=MaxDescriptionLen" json:"description,omitempty"`
	Tags        map[string]string `wire:"tags" json:"tags,omitempty"`
	Created     time.Time         `wire:"created,early" json:"created,omitzero"`   // when the first version was stored
	Modified    time.Time         `wire:"modified,early" json:"modified,omitzero"` // when the values were stored
	Expires     time.Time         `wire:"expires,early" json:"expires,omitzero"`   // never, if it is left out
	// RotationDays is the rotation policy: how many days old the values may become. 0 is
	// no policy.
	RotationDays int `wire:"rotation_days,most=MaxRotationDays,read=rotationDays" json:"rotation_days,omitempty"`
	// Inheritable lets scopes below read the credential with inherit.
	Inheritable bool `wire:"inheritable" json:"inheritable,omitempty"`
}

// Check reports the first limit that m breaks. The error wraps ErrInvalid.
func (m *Metadata) Check() error {
	if n := utf8.RuneCountInString(m.Description); n > MaxDescriptionLen {
		return invalidf("description has %d characters: at most %d are allowed", n, MaxDescriptionLen)
	}
	if !utf8.ValidString(m.Description) {
		return invalidf("description is not valid UTF-8")
	}
	if len(m.Tags) > MaxTags {
		return invalidf("%d tags: at most %d are allowed", len(m.Tags), MaxTags)
	}
	for key, value := range m.Tags {
		if n := utf8.RuneCountInString(key); n == 0 || n > MaxTagKeyLen {
			return invalidf("a tag's key has %d characters: 1 to %d are allowed", n, MaxTagKeyLen)
		}
		if n := utf8.RuneCountInString(value); n > MaxTagValueLen {
			return invalidf("the value of tag %q has %d characters: at most %d are allowed", key, n, MaxTagValueLen)
		}
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return invalidf("a tag is not valid UTF-8")
		}
	}
	if m.RotationDays < 0 || m.RotationDays > MaxRotationDays {
		return invalidf("rotation_days is %d: 0 (no policy) to %d are allowed", m.RotationDays, MaxRotationDays)
	}
	return nil
}

// Check reports the first limit that d breaks: ErrTooLarge for its size,
// ErrInvalid otherwise.
func (d Data) Check() error {
	switch {
	case len(d) == 0:
		return invalidf("data is empty: give at least one value")
	case len(d) > MaxDataNames:
		return invalidf("data has %d names: at most %d are allowed", len(d), MaxDataNames)
	}
	for name := range d {
		if err := checkDataName(name); err != nil {
			return err
		}
	}
	n := 0
	for _, value := range d {
		n += value.Len()
	}
	if n > MaxDataLen {
		return tooLargef("the values have %d bytes together: at most %d are allowed", n, MaxDataLen)
	}
	return nil
}

// checkDataName allows only names that every provider can keep as a key.
func checkDataName(name string) error {
	if name == "" || len(name) > MaxDataNameLen {
		return invalidf("a data name has %d characters: 1 to %d are allowed", len(name), MaxDataNameLen)
	}
	for i := range len(name) {
		if !nameByte[name[i]] && name[i] != '.' {
			return invalidf("data name %q has %q: only A-Z a-z 0-9 - _ . are allowed", printable(name), character(name[i:]))
		}
	}
	return nil
}

// Credential is a credential in a reply. In a list it has no values.
//
//contract:never data stale_since
type Credential struct {
	Scope   Scope  `wire:"scope" json:"scope"`
	ID      ID     `wire:"id" json:"id"`
	Version string `wire:"version" json:"version"`     // another one after each write
	Data    Data   `wire:"data" json:"data,omitempty"` // the named values, which lists and descriptions do not have
	Metadata
	// Damaged is set in lists and descriptions, with the reason, on a credential
	// that is stored and cannot be read.
	Damaged string `wire:"damaged" json:"damaged,omitempty"`
	// StaleSince is set if the store cannot be reached now, and the worker answers with what
	// it read last (cache.stale_on_outage): it is when the worker read that. A read with
	// fresh never has it. No worker has changed the credential
	// since, but other programs that write to the store may have.
	StaleSince time.Time `wire:"stale_since" json:"stale_since,omitzero"`
}

// Wipe overwrites the credential's values.
func (c *Credential) Wipe() { c.Data.Wipe() }
