package subjects

import "credbus/subjects/internal/wire"

// A body may be JSON instead of msgpack, so that commands can be typed by
// hand. It is the same message: JSON is turned into msgpack before it is
// decoded, and a reply back into JSON after it was encoded. A value of a
// credential is a JSON string, or {"base64": "..."} where its bytes are no
// valid UTF-8. Neither direction makes a Go string of a value or leaves a copy
// of it in a buffer that was outgrown.

// IsJSON reports whether a body is JSON: a msgpack map never begins with '{'.
func IsJSON(body []byte) bool { return wire.IsJSON(body) }

// FromJSON returns the msgpack form of a JSON body, in a new buffer that is
// the caller's to wipe. The error wraps ErrInvalid.
func FromJSON(body []byte) ([]byte, error) { return wire.FromJSON(body) }

// ToJSON returns the JSON form of a msgpack body, in a new buffer that is the caller's to
// wipe. The error wraps ErrInvalid.
func ToJSON(body []byte) ([]byte, error) { return wire.ToJSON(body) }
