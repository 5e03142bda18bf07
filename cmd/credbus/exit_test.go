package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

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

// A command that is interrupted still says what it did.
func TestInterruptedHalfway(t *testing.T) {
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	p := &program{stderr: stderr}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code := p.fail(ctx, halfway{"stopped with 7 credentials: run it again", context.Canceled})
	said, err := os.ReadFile(stderr.Name())
	if err != nil {
		t.Fatal(err)
	}
	if want := "credbus: stopped with 7 credentials: run it again\ncredbus: interrupted\n"; code != exitInterrupted || string(said) != want {
		t.Errorf("exit status %d, %q", code, said)
	}
}
