package vault

import (
	"strings"

	"credbus/internal/store"
	"credbus/subjects"
)

// The name of a secret below Config.Path is the scope and the ID as people know
// them, org:acme/team:eng/api-key: a segment of a scope has a colon, which no ID
// has, so no ID is taken for a directory. Vault tells case apart.
//
// Vault encrypts each part of a name, to nearly twice its length, and its file
// storage takes no part above 255 bytes. So a long part is cut into pieces of
// maxPart bytes. A piece that is continued ends with a mark, which is no
// character of any name: take out mark and slash, and the key stands there.
const (
	maxPart   = 96
	idMark    = "~"
	scopeMark = ":~" // with a colon, like any directory of a scope
)

// nameOf is the key's name below Config.Path.
func nameOf(key store.Key) string {
	var name strings.Builder
	for segment := range strings.SplitSeq(string(key.Scope), "/") {
		cut(&name, segment, scopeMark)
		name.WriteByte('/')
	}
	cut(&name, string(key.ID), idMark)
	return name.String()
}

func cut(name *strings.Builder, part, mark string) {
	for len(part) > maxPart {
		name.WriteString(part[:maxPart] + mark + "/")
		part = part[maxPart:]
	}
	name.WriteString(part)
}

// keyOf reads what nameOf made. Other names are no credential's.
func keyOf(name string) (key store.Key, ok bool) {
	joined := strings.NewReplacer(scopeMark+"/", "", idMark+"/", "").Replace(name)
	i := strings.LastIndexByte(joined, '/')
	if i < 0 {
		return store.Key{}, false
	}
	key = store.Key{Scope: subjects.Scope(joined[:i]), ID: subjects.ID(joined[i+1:])}
	return key, key.Check() == nil && nameOf(key) == name
}
