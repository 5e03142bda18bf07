package jetstream

import (
	"strings"

	"credbus/subjects"
)

// A key of the bucket is a subject: the segments of the scope and the ID, with
// dots between them and = for the colon of each segment. No ID, level or value
// contains either, and only the ID has no =, so each key has its own name. Case
// is kept: subjects are case-sensitive.

// nameOf returns the key's name in the bucket.
func nameOf(key subjects.Target) string { return scopeName(key.Scope) + "." + string(key.ID) }

func scopeName(scope subjects.Scope) string {
	return strings.NewReplacer("/", ".", ":", "=").Replace(string(scope))
}

// keyOf reverses nameOf. Other names belong to no credential.
func keyOf(name string) (key subjects.Target, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || strings.ContainsAny(name, "/:") {
		return subjects.Target{}, false
	}
	scope, err := subjects.ParseScope(strings.NewReplacer(".", "/", "=", ":").Replace(name[:i]))
	if err != nil || scope == subjects.Root {
		return subjects.Target{}, false
	}
	id, err := subjects.ParseID(name[i+1:])
	return subjects.Target{Scope: scope, ID: id}, err == nil
}

// streamName returns the name that JetStream gives to the stream of a bucket.
func (s *Store) streamName() string { return streamOf(s.config.Bucket) }

func streamOf(bucket string) string { return "KV_" + bucket }

// prefix begins every subject of the bucket.
func (s *Store) prefix() string { return prefixOf(s.config.Bucket) }

func prefixOf(bucket string) string { return "$KV." + bucket + "." }

func (s *Store) subjectOf(key subjects.Target) string { return s.prefix() + nameOf(key) }

// subjectsBelow matches the keys of a scope and of those below it.
func (s *Store) subjectsBelow(scope subjects.Scope) string {
	if scope == subjects.Root {
		return s.prefix() + ">"
	}
	return s.prefix() + scopeName(scope) + ".>"
}
