package vault

import (
	"strings"

	"credbus/subjects"
)

// The name of a secret below Config.Path is the scope and the ID as people know
// them, org:acme/team:eng/api-key: a segment of a scope has a colon, and no ID
// has, so no ID looks like a directory. Vault is case-sensitive.
//
// Vault encrypts each part of a name to nearly twice its length, and its file
// storage allows no part above 255 bytes. So a long part is cut into pieces of
// maxPart bytes. A piece that continues ends with a mark, which no name
// contains: remove mark and slash to get the key.
const (
	maxPart   = 96
	idMark    = "~"
	scopeMark = ":~" // with a colon, like any directory of a scope
)

// nameOf returns the key's name below Config.Path.
func nameOf(key subjects.Target) string {
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

// keyOf reverses nameOf. Other names belong to no credential.
func keyOf(name string) (key subjects.Target, ok bool) {
	joined := strings.NewReplacer(scopeMark+"/", "", idMark+"/", "").Replace(name)
	i := strings.LastIndexByte(joined, '/')
	if i < 0 {
		return subjects.Target{}, false
	}
	key = subjects.Target{Scope: subjects.Scope(joined[:i]), ID: subjects.ID(joined[i+1:])}
	return key, key.Check() == nil && nameOf(key) == name
}
