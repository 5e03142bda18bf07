package aws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"

	"credbus/subjects"
)

// form is the form of a value.
type form string

const (
	sealed  form = "sealed"  // an encoded record
	native  form = "native"  // one value, as it is
	named   form = "named"   // native: a JSON object of named values
	deleted form = "deleted" // a tombstone
)

// maxNoteLen is the most characters of a secret's description.
const maxNoteLen = 2048

// note is the content of a secret's description, as JSON. For a sealed record
// it holds what a writer must know; the metadata is in the record.
type note struct {
	subjects.Metadata
	Form form `json:"credbus"`
	// Version is the VersionId that the note was written with. If the current
	// version of the secret differs, somebody else wrote the value.
	Version  string `json:"version"`
	WriteID  string `json:"write_id,omitempty"`
	Revision string `json:"revision,omitempty"`
	// The key, if the secret's name has a hash.
	Scope subjects.Scope `json:"scope,omitempty"`
	ID    subjects.ID    `json:"id,omitempty"`
}

// text returns the description, or ErrTooLarge.
func (n *note) text() (string, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(n); err != nil {
		return "", fmt.Errorf("%w: metadata: %w", subjects.ErrInvalid, err)
	}
	text.Truncate(text.Len() - 1) // the line's end
	// The provider does not define a character: this count is the largest.
	if length := len(utf16.Encode([]rune(text.String()))); length > maxNoteLen {
		return "", fmt.Errorf("%w: description, tags and the worker's own notes take %d characters: Secrets Manager keeps at most %d in native form", subjects.ErrTooLarge, length, maxNoteLen)
	}
	return text.String(), nil
}

// parseNote reads a description. ok reports whether it is a note.
func parseNote(description string) (n note, ok bool) {
	if json.Unmarshal([]byte(description), &n) != nil || n.Form == "" || n.Metadata.Check() != nil {
		return note{}, false
	}
	return n, true
}

// newNote returns the note of rec in a form, without metadata.
func (s *Store) newNote(key subjects.Target, form form, version string) *note {
	n := &note{Form: form, Version: version}
	if strings.Contains(s.nameOf(key), hashMark) {
		n.Scope, n.ID = key.Scope, key.ID
	}
	return n
}
