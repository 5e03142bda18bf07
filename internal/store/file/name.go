package file

import (
	"path"
	"strings"

	"credbus/subjects"
)

// Names of files and directories. Each scope segment or ID has a different
// name, and no file system merges, refuses or cuts off one:
//
//   - all letters are lower case, since some file systems ignore case: a plus
//     sign switches between lower and upper case, so that DB_Url becomes
//     "+db_u+rl";
//   - a colon, which Windows refuses, becomes an equals sign;
//   - an ID begins with @ and ends with .cred, which keeps IDs apart from
//     segments and away from device names (con, nul);
//   - a name too long for one directory entry is cut into several, one below
//     the other: "first," "/" ",second". Nothing is hashed, so the path of
//     every file shows its key, even if its content is damaged.
const (
	recordsDir   = "records"
	recordPrefix = "@"
	recordSuffix = ".cred"

	// pieceLen keeps a piece with its additions below the 255 bytes that file
	// systems allow.
	pieceLen = 240
	joint    = ",/,"

	// maxCutLen bounds the longest name with its cuts: a segment of
	// subjects.MaxScopeLen characters that change case with every letter.
	maxCutLen = 2*subjects.MaxScopeLen + 5*len(joint)
)

// scopePath returns the directory of a scope's own records.
func scopePath(scope subjects.Scope) string {
	if scope == subjects.Root {
		return recordsDir
	}
	path := recordsDir
	for segment := range strings.SplitSeq(string(scope), "/") {
		path += "/" + cut(encodeName(segment))
	}
	return path
}

// recordPath returns the file of a record.
func recordPath(key subjects.Target) string {
	return scopePath(key.Scope) + "/" + cut(recordPrefix+encodeName(string(key.ID))) + recordSuffix
}

func cut(name string) string {
	if len(name) <= pieceLen {
		return name
	}
	return name[:pieceLen] + joint + cut(name[pieceLen:])
}

// uncut reverses cut. It accepts more than cut produces: callers of decodeName
// must compare the whole path.
func uncut(path string) string { return strings.ReplaceAll(path, joint, "") }

func encodeName(name string) string {
	var b strings.Builder
	b.Grow(len(name) + 8)
	upper := false
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			if !upper {
				b.WriteByte('+')
			}
			upper = true
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z':
			if upper {
				b.WriteByte('+')
			}
			upper = false
		case c == ':':
			c = '='
		}
		b.WriteByte(c)
	}
	return b.String()
}

// decodeName reverses encodeName. For other names the result is arbitrary: the
// caller must encode it again and compare.
func decodeName(encoded string) string {
	var b strings.Builder
	b.Grow(len(encoded))
	upper := false
	for i := range len(encoded) {
		c := encoded[i]
		switch {
		case c == '+':
			upper = !upper
			continue
		case c == '=':
			c = ':'
		case upper && 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// segmentOf returns the segment whose directory has this path below its parent.
func segmentOf(path string) (segment string, ok bool) {
	segment = decodeName(uncut(path))
	return segment, cut(encodeName(segment)) == path
}

// idOf returns the ID whose file has this path below its scope's directory.
func idOf(path string) (id subjects.ID, ok bool) {
	name, isRecord := strings.CutSuffix(path, recordSuffix)
	encoded, isID := strings.CutPrefix(uncut(name), recordPrefix)
	id, err := subjects.ParseID(decodeName(encoded))
	return id, isRecord && isID && err == nil && cut(recordPrefix+encodeName(string(id))) == name
}

// keyOf returns the key whose record has this path below the store's directory.
func keyOf(name string) (key subjects.Target, ok bool) {
	below, isBelow := strings.CutPrefix(name, recordsDir+"/")
	dir, last := path.Split(uncut(below))
	if !isBelow || dir == "" {
		return subjects.Target{}, false
	}
	segments := strings.Split(strings.TrimSuffix(dir, "/"), "/")
	for i := range segments {
		segments[i] = decodeName(segments[i])
	}
	scope, err := subjects.ParseScope(strings.Join(segments, "/"))
	if err != nil {
		return subjects.Target{}, false
	}
	last, isRecord := strings.CutSuffix(last, recordSuffix)
	id, err := subjects.ParseID(decodeName(strings.TrimPrefix(last, recordPrefix)))
	key = subjects.Target{Scope: scope, ID: id}
	return key, isRecord && err == nil && recordPath(key) == name
}
