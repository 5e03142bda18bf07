package subjects

import "credbus/subjects/internal/wire"

// A body may be JSON instead of msgpack, so that people can type commands. It is the
// same message: JSON is converted to msgpack before it is decoded, and a reply back to
// JSON after it was encoded. A value of a credential is a JSON string, or
// {"base64": "..."} if its bytes are not valid UTF-8. Neither direction makes a Go string
// of a value, or leaves a copy of it in an outgrown buffer.

// IsJSON reports whether a body is JSON: a msgpack map never begins with '{'.
func IsJSON(body []byte) bool { return wire.IsJSON(body) }

// FromJSON returns the msgpack form of a JSON body, in a new buffer that the caller
// must wipe. The error wraps ErrInvalid.
func FromJSON(body []byte) ([]byte, error) { return wire.FromJSON(body) }

// ToJSON returns the JSON form of a msgpack body, in a new buffer that the caller must
// wipe. The error wraps ErrInvalid.
func ToJSON(body []byte) ([]byte, error) { return wire.ToJSON(body) }
