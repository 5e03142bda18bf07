package aws

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"credbus/internal/store"
	"credbus/subjects"
)

// A secret's name is the prefix, the segments of the scope and the ID, with
// slashes between them and = for the colon of each segment. Neither can stand in
// an ID, level or value, so each key has a name of its own. Case is kept.
//
// Two names are changed. One must not end in a hyphen and six characters, which
// Secrets Manager may take for the end of an ARN: it is filled up with =. And one
// that is too long keeps its beginning, so that a list finds it, and ends in a
// hash of the key.

const (
	maxNameLen = 512
	// maxPrefixLen leaves most of a name to scope and ID.
	maxPrefixLen = 200
	arnSuffixLen = 6 // characters that an ARN ends in, after a hyphen
	// hashMark begins the last part of a hashed name, as no ID does.
	hashMark = "/="
	maxHead  = maxNameLen - len(hashMark) - 2*sha256.Size
)

// pathOf is the name of a scope below the prefix.
func pathOf(scope subjects.Scope) string { return strings.ReplaceAll(string(scope), ":", "=") }

// nameOf is the name of the key's secret.
func (s *Store) nameOf(key store.Key) string {
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

// namesBelow begins the name of every key of a scope and of those below it.
// Where it is cut off, others begin with it too.
func (s *Store) namesBelow(scope subjects.Scope) string {
	prefix := s.config.Prefix + "/"
	if scope != subjects.Root {
		prefix += pathOf(scope) + "/"
	}
	return prefix[:min(len(prefix), maxHead)]
}

// keyOf is the key of a secret, ok if there is one: others may keep secrets below
// the same prefix. The key of a hashed name is the one that its note holds.
func (s *Store) keyOf(name string, note *note) (key store.Key, ok bool) {
	path, below := strings.CutPrefix(name, s.config.Prefix+"/")
	i := strings.LastIndexByte(path, '/')
	if !below || i < 0 {
		return store.Key{}, false
	}
	key.Scope = subjects.Scope(strings.ReplaceAll(path[:i], "=", ":"))
	key.ID = subjects.ID(strings.TrimRight(path[i+1:], "="))
	if strings.HasPrefix(path[i:], hashMark) {
		key = store.Key{Scope: note.Scope, ID: note.ID}
	}
	return key, key.Check() == nil && s.nameOf(key) == name
}
