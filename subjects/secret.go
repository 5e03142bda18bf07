package subjects

import (
	"bytes"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds the bytes of one value. It prints as "[redacted]" through fmt,
// encoding/json and log/slog. It shows no byte even if fmt reaches it through an
// unexported field, whose methods fmt cannot call.
//
// A Secret does not copy: it refers to the slice that it was made from. The owner of
// that slice must wipe it with Wipe after its last use. The zero Secret is empty.
type Secret struct {
	// Two pointers: for a verb that does not suit a pointer, such as %s, fmt follows one
	// pointer to print the slice behind it, but never a second one.
	b **[]byte
}

// NewSecret wraps b without copying it.
func NewSecret(b []byte) Secret {
	cell := struct {
		bytes   []byte
		pointer *[]byte
	}{bytes: b}
	cell.pointer = &cell.bytes
	return Secret{&cell.pointer}
}

// Bytes returns the value itself, not a copy. It is nil after Wipe.
func (s Secret) Bytes() []byte {
	if s.b == nil {
		return nil
	}
	return **s.b
}

// Len is the number of bytes.
func (s Secret) Len() int { return len(s.Bytes()) }

// Wipe overwrites the value with zeros and drops it.
func (s Secret) Wipe() {
	if s.b != nil {
		clear(**s.b)
		**s.b = nil
	}
}

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Data is what a credential holds: named values, at least one. A single value
// without a name is called ValueName.
type Data map[string]Secret

// ValueName is the name of a credential's single, unnamed value.
const ValueName = "value"

// Value returns the Data of a single value. It does not copy b.
func Value(b []byte) Data { return Data{ValueName: NewSecret(b)} }

// Size is the number of bytes of all names and values.
func (d Data) Size() int {
	n := 0
	for name, value := range d {
		n += len(name) + value.Len()
	}
	return n
}

// Clone copies names and values. The caller must wipe the copy.
func (d Data) Clone() Data {
	if d == nil {
		return nil
	}
	clone := make(Data, len(d))
	for name, value := range d {
		clone[name] = NewSecret(bytes.Clone(value.Bytes()))
	}
	return clone
}

// Wipe overwrites every value.
func (d Data) Wipe() {
	for _, value := range d {
		value.Wipe()
	}
}
