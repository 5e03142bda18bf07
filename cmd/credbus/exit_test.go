package main

import "testing"

func TestJoined(t *testing.T) {
	for _, test := range []struct{ text, hint, want string }{
		{"it is gone", "", "it is gone"},
		{"it is gone", "look for it", "it is gone: look for it"},
		{"it is full: try again later", "try again later", "it is full: try again later"},
		{"it is away: try again later", "try again later; the log says more", "it is away: try again later; the log says more"},
	} {
		if got := joined(test.text, test.hint); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
