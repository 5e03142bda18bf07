package aws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"

	"credbus/internal/store"
	"credbus/subjects"
)

// form is what a value is.
type form string

const (
	sealed  form = "sealed"  // an encoded record
	native  form = "native"  // one value, as it is
	named   form = "named"   // native: a JSON object of named values
	deleted form = "deleted" // a tombstone
)

// maxNoteLen is the most characters of a secret's description.
const maxNoteLen = 2048

// note is what stands in a secret's description, as JSON. Of a sealed record it
// holds what a writer must know; metadata is in the record.
type note struct {
	subjects.Metadata
	Form form `json:"credbus"`
	// Version is the VersionId that the note was written with. Of a secret whose
	// current version is another one somebody else wrote the value.
	Version  string `json:"version"`
	WriteID  string `json:"write_id,omitempty"`
	Revision string `json:"revision,omitempty"`
	// The key, where the secret's name is a hash.
	Scope subjects.Scope `json:"scope,omitempty"`
	ID    subjects.ID    `json:"id,omitempty"`
}

// text is the description, or ErrTooLarge.
func (n *note) text() (string, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(n); err != nil {
		return "", fmt.Errorf("%w: metadata: %w", subjects.ErrInvalid, err)
	}
	text.Truncate(text.Len() - 1) // the line's end
	// The provider does not say what a character is: this is the most.
	if length := len(utf16.Encode([]rune(text.String()))); length > maxNoteLen {
		return "", fmt.Errorf("%w: description and tags take %d characters with what is noted beside them: Secrets Manager keeps %d in native form", subjects.ErrTooLarge, length, maxNoteLen)
	}
	return text.String(), nil
}

// parseNote reads what text made, ok if it is a note.
func parseNote(description string) (n note, ok bool) {
	if json.Unmarshal([]byte(description), &n) != nil || n.Form == "" || n.Metadata.Check() != nil {
		return note{}, false
	}
	return n, true
}

// newNote is that of rec in a form, without metadata.
func (s *Store) newNote(key store.Key, form form, version string) *note {
	n := &note{Form: form, Version: version}
	if strings.Contains(s.nameOf(key), hashMark) {
		n.Scope, n.ID = key.Scope, key.ID
	}
	return n
}
