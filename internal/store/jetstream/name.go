package jetstream

import (
	"strings"

	"credbus/internal/store"
	"credbus/subjects"
)

// A key of the bucket is a subject: the segments of the scope and the ID, with
// dots between them and = for the colon of each segment. Neither can stand in
// an ID, level or value, and the ID is what has no =, so each key has a name
// of its own. Case is kept: subjects tell it apart.

// nameOf is the key's name in the bucket.
func nameOf(key store.Key) string { return scopeName(key.Scope) + "." + string(key.ID) }

func scopeName(scope subjects.Scope) string {
	return strings.NewReplacer("/", ".", ":", "=").Replace(string(scope))
}

// keyOf reads what nameOf made. Other names are no credential's.
func keyOf(name string) (key store.Key, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || strings.ContainsAny(name, "/:") {
		return store.Key{}, false
	}
	scope, err := subjects.ParseScope(strings.NewReplacer(".", "/", "=", ":").Replace(name[:i]))
	if err != nil || scope == subjects.Root {
		return store.Key{}, false
	}
	id, err := subjects.ParseID(name[i+1:])
	return store.Key{Scope: scope, ID: id}, err == nil
}

// streamName is how JetStream names the stream of a bucket.
func (s *Store) streamName() string { return streamOf(s.config.Bucket) }

func streamOf(bucket string) string { return "KV_" + bucket }

// prefix begins every subject of the bucket.
func (s *Store) prefix() string { return prefixOf(s.config.Bucket) }

func prefixOf(bucket string) string { return "$KV." + bucket + "." }

func (s *Store) subjectOf(key store.Key) string { return s.prefix() + nameOf(key) }

// subjectsBelow matches the keys of a scope and of those below it.
func (s *Store) subjectsBelow(scope subjects.Scope) string {
	if scope == subjects.Root {
		return s.prefix() + ">"
	}
	return s.prefix() + scopeName(scope) + ".>"
}
