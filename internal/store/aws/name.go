package aws

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"credbus/subjects"
)

// A secret's name is the prefix, the segments of the scope and the ID, with
// slashes between them and = for the colon of each segment. No ID, level or
// value contains either, so each key has its own name. Case is kept.
//
// Two kinds of names change. A name that ends in a hyphen and six characters
// gets = at its end, since Secrets Manager might take it for the end of an ARN.
// A name that is too long keeps its beginning, so that a list finds it, and
// ends in a hash of the key.

const (
	maxNameLen = 512
	// maxPrefixLen leaves most of a name for scope and ID.
	maxPrefixLen = 200
	arnSuffixLen = 6 // characters at the end of an ARN, after a hyphen
	// hashMark begins the last part of a hashed name, as no ID does.
	hashMark = "/="
	maxHead  = maxNameLen - len(hashMark) - 2*sha256.Size
)

// pathOf returns the name of a scope below the prefix.
func pathOf(scope subjects.Scope) string { return strings.ReplaceAll(string(scope), ":", "=") }

// nameOf returns the name of the key's secret.
func (s *Store) nameOf(key subjects.Target) string {
	name := s.config.Prefix + "/" + pathOf(key.Scope) + "/" + string(key.ID)
	for name[len(name)-arnSuffixLen-1] == '-' {
		name += "="
	}
	if len(name) <= maxNameLen {
		return name
	}
	sum := sha256.Sum256([]byte(key.String()))
	return name[:maxHead] + hashMark + hex.EncodeToString(sum[:])
}

// namesBelow returns the common beginning of the names of all keys of a scope
// and below. If it had to be cut, other names begin with it too.
func (s *Store) namesBelow(scope subjects.Scope) string {
	prefix := s.config.Prefix + "/"
	if scope != subjects.Root {
		prefix += pathOf(scope) + "/"
	}
	return prefix[:min(len(prefix), maxHead)]
}

// keyOf returns the key of a secret. ok is false if it has none: others may
// keep secrets below the same prefix. For a hashed name, the note holds the
// key.
func (s *Store) keyOf(name string, note *note) (key subjects.Target, ok bool) {
	path, below := strings.CutPrefix(name, s.config.Prefix+"/")
	i := strings.LastIndexByte(path, '/')
	if !below || i < 0 {
		return subjects.Target{}, false
	}
	key.Scope = subjects.Scope(strings.ReplaceAll(path[:i], "=", ":"))
	key.ID = subjects.ID(strings.TrimRight(path[i+1:], "="))
	if strings.HasPrefix(path[i:], hashMark) {
		key = subjects.Target{Scope: note.Scope, ID: note.ID}
	}
	return key, key.Check() == nil && s.nameOf(key) == name
}
