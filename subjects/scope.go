package subjects

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"credbus/subjects/internal/wire"
)

// Limits of names, in bytes (every permitted character is one byte).
const (
	MaxIDLen       = 255
	MaxScopeLen    = 512
	MaxScopeLevels = 8
)

// ErrInvalid is wrapped by every error that reports a malformed scope, ID,
// subject or message. Its text names the rule that was broken.
var ErrInvalid = wire.ErrInvalid

func invalidf(format string, args ...any) error { return wire.Invalidf(format, args...) }

// ID names a credential within its scope: 1 to 255 characters of
// A-Z a-z 0-9 - _. Different scopes may have the same ID.
type ID string

// ParseID checks s against the rules of ID. The error wraps ErrInvalid.
func ParseID(s string) (ID, error) {
	switch {
	case s == "":
		return "", invalidf("id is empty: give 1 to %d characters of A-Z a-z 0-9 - _", MaxIDLen)
	case len(s) > MaxIDLen:
		return "", invalidf("id has %d characters: at most %d are allowed", len(s), MaxIDLen)
	}
	for i := range len(s) {
		if !nameByte[s[i]] {
			return "", invalidf("id has %q at position %d: only A-Z a-z 0-9 - _ are allowed", character(s[i:]), i+1)
		}
	}
	return ID(s), nil
}

// Scope is a path of level:value segments, for example
// "org:acme/team:eng/service:api". The zero Scope is the root, which contains
// every scope and holds no credential of its own.
type Scope string

// Root is the scope that contains every other.
const Root Scope = ""

// ParseScope checks s against the rules of Scope: level:value segments joined
// by single slashes, level and value non-empty and of A-Z a-z 0-9 - _, at most
// 8 levels and 512 characters. The empty string is the root. The error wraps
// ErrInvalid.
func ParseScope(s string) (Scope, error) {
	if s == "" {
		return Root, nil
	}
	if len(s) > MaxScopeLen {
		return "", invalidf("scope has %d characters: at most %d are allowed", len(s), MaxScopeLen)
	}
	levels := 0
	for segment := range strings.SplitSeq(s, "/") {
		if err := checkSegment(segment); err != nil {
			return "", err
		}
		if levels++; levels > MaxScopeLevels {
			return "", invalidf("scope has more than %d levels", MaxScopeLevels)
		}
	}
	return Scope(s), nil
}

func checkSegment(segment string) error {
	if segment == "" {
		return invalidf("scope has an empty segment: write level:value/level:value without leading, trailing or double slashes")
	}
	level, value, ok := strings.Cut(segment, ":")
	if !ok || level == "" || value == "" {
		return invalidf("scope segment %q is not level:value", printable(segment))
	}
	for i := range len(segment) {
		if !nameByte[segment[i]] && i != len(level) {
			return invalidf("scope segment %q has %q: only A-Z a-z 0-9 - _ are allowed in level and value", printable(segment), character(segment[i:]))
		}
	}
	return nil
}

// character is the first character of s as people see it.
func character(s string) rune {
	first, _ := utf8.DecodeRuneInString(s)
	return first
}

// printable shortens a name that failed its check, so that an error cannot be
// used to fill a log.
func printable(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// Parent is the scope one level up; the parent of the root is the root.
func (s Scope) Parent() Scope {
	if i := strings.LastIndexByte(string(s), '/'); i >= 0 {
		return s[:i]
	}
	return Root
}

// Contains reports whether other is s or lies below it.
func (s Scope) Contains(other Scope) bool {
	if s == Root || s == other {
		return true
	}
	return len(other) > len(s) && other[len(s)] == '/' && other[:len(s)] == s
}

// Compare orders scopes like a walk of their tree: a scope comes before those below
// it, and siblings are in byte order.
func (s Scope) Compare(other Scope) int {
	a, b := string(s), string(other)
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

// nameByte marks the characters of IDs, levels and values.
var nameByte = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = true
	}
	return table
}()
