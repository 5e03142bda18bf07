package main

import (
	"strings"
	"testing"
	"time"

	"credbus/client"
	"credbus/subjects"
)

// Any publisher on the subjects of events could send control sequences to a terminal.
func TestWatchedLinesArePrintable(t *testing.T) {
	const hostile = "\x1b[2Jstored\x07\u202e\r\n"
	lines := map[string]string{
		"event": eventLine(&client.Event{Kind: hostile, Target: subjects.Target{Scope: "org:acme", ID: "db"}, At: time.Unix(0, 0)}),
		"store": storeLine(&client.StoreStatus{StoreState: subjects.StoreState{Name: hostile, State: hostile, Error: hostile}, Replica: hostile}),
	}
	for what, line := range lines {
		if strings.ContainsAny(line, "\x1b\x07\r\n\u202e") || !strings.Contains(line, "stored") {
			t.Errorf("the line of a %s is %q", what, line)
		}
	}
}
