package main

import (
	"errors"
	"time"
)

// past is a time that has passed, as a flag: a moment, or how long ago.
type past struct {
	time.Time
	text string // as it was given
}

// pastHelp says how to write one.
const pastHelp = "2026-01-31, 2026-01-31T12:00:00Z, or how long ago as 90d, 2w or 12h; without a zone it is UTC"

func (t *past) String() string { return t.text }

// Type is what the help calls the flag's value.
func (t *past) Type() string { return "TIME" }

// Set parses the value.
func (t *past) Set(text string) error {
	if span, err := parseSpan(text); err == nil {
		*t = past{time.Now().Add(-span).UTC().Truncate(time.Second), text}
		return nil
	}
	var m moment
	if m.Set(text) != nil {
		return errors.New("write it as " + pastHelp)
	}
	*t = past{m.Time, text}
	return nil
}
