package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"credbus/subjects"
)

// pem is a value of several lines, two of which are the same and follow each other.
const pem = "-----BEGIN " + canary + "-----\nAAAA\nAAAA\nBBBB=\n-----END " + canary + "-----\n"

// bracketed is text as a terminal pastes it: marked, and with carriage returns.
func bracketed(text string) string {
	return "\x1b[200~" + strings.ReplaceAll(text, "\n", "\r") + "\x1b[201~"
}

// retrieved is the value of a credential, read through a pipe, or "" if there is none.
func retrieved(t *testing.T, dir, scope, id string) string {
	t.Helper()
	cmd := command(t, dir, "retrieve", scope, id)
	out, err := cmd.Output()
	if err != nil {
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitNotFound {
			t.Fatal(err)
		}
		return ""
	}
	return string(out)
}

func TestPrompt(t *testing.T) {
	dir := startWorker(t)
	const scope = "org:prompt"
	long := strings.Repeat("0123456789abcdef", subjects.MaxDataLen/16)

	const again = "The same again: "
	for name, test := range map[string]struct {
		first, second string // typed
		stored        string
		status        int
		shows         string
	}{
		"line":              {"typed-" + canary + "\r", "typed-" + canary + "\r", "typed-" + canary, exitOK, ""},
		"line-feed":         {"typed-" + canary + "\n", "typed-" + canary + "\r\n", "typed-" + canary, exitOK, ""},
		"corrected":         {"wrong\x15typÄe\x7f\x7fed\r", "typed\x04", "typed", exitOK, ""},
		"full":              {long + "\r", long + "\r", long, exitOK, ""},
		"full-pasted":       {bracketed(long) + "\r", bracketed(long) + "\r", long, exitOK, ""},
		"too-long":          {long + strings.Repeat("y", 10000) + "\r", "", "", exitUsage, "at most 65536 bytes"},
		"too-long-pasted":   {bracketed(long+"\n"+strings.Repeat("y", 100000)) + "\r", "", "", exitUsage, "at most 65536 bytes"},
		"pem":               {bracketed(pem) + "\r", bracketed(pem) + "\r", pem, exitOK, ""},
		"pem-crlf":          {"\x1b[200~" + strings.ReplaceAll(pem, "\n", "\r\n") + "\x1b[201~\r", bracketed(pem) + "\r", pem, exitOK, ""},
		"pem-unmarked":      {strings.ReplaceAll(pem, "\n", "\r") + "\x04", strings.ReplaceAll(pem, "\n", "\r") + "\x04", pem, exitOK, "end them with Ctrl-D"},
		"newline":           {bracketed("pasted\n") + "\r", bracketed("pasted\n") + "\r", "pasted\n", exitOK, "ends with a newline"},
		"two-pastes":        {bracketed("a\nb") + "c" + bracketed("d\n") + "e\r", "" + bracketed("a\nbcd\ne") + "\r", "a\nbcd\ne", exitOK, ""},
		"mismatch":          {"typed-" + canary + "\r", "typos-" + canary + "\r", "", exitUsage, "not the same as the first"},
		"nothing":           {"\r", "", "", exitUsage, "no value was typed"},
		"nothing-ctrl-d":    {"\x04", "", "", exitUsage, "no value was typed"},
		"control":           {"a\x1b[31m" + canary + "\r", "", "", exitUsage, "U+001B"},
		"arrow":             {"a\x1b[A\r", "", "", exitUsage, "U+001B"},
		"interrupted":       {"half-a-" + canary + "\x03", "", "", exitInterrupted, "interrupted"},
		"quit":              {"half-a-" + canary + "\x1c", "", "", exitInterrupted, "interrupted"},
		"interrupted-again": {canary + "\r", canary + "\x03", "", exitInterrupted, "interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			term := startOnTerminal(t, dir, "store", scope, name)
			before := settings(t, term.pty)
			term.await("Value of org:prompt/" + name + " (not shown): ")
			term.pasted(test.first)
			if test.second != "" {
				term.await(again)
				term.pasted(test.second)
			}
			if status := term.end(); status != test.status {
				t.Errorf("exit status %d: %s", status, term.shown.String())
			}
			shown := term.shown.String()
			if !strings.Contains(shown, test.shows) {
				t.Errorf("shows %q, without %q", shown, test.shows)
			}
			if strings.Contains(shown, canary) || strings.Contains(shown, "01234") {
				t.Errorf("the terminal shows the typed value: %q", shown)
			}
			if on, off := strings.LastIndex(shown, markPastes), strings.LastIndex(shown, markPastesNot); on < 0 || off < on {
				t.Errorf("the terminal still marks pastes: %q", shown)
			}
			if after := settings(t, term.pty); after != before {
				t.Errorf("the terminal is left as %+v, it was %+v", after, before)
			}
			if got := retrieved(t, dir, scope, name); got != test.stored {
				t.Errorf("%d bytes were stored, want %d", len(got), len(test.stored))
			}
		})
	}
}

// After a signal, the terminal has its old settings, too.
func TestPromptSignals(t *testing.T) {
	dir := startWorker(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP} {
		term := startOnTerminal(t, dir, "store", "org:prompt", "signal")
		before := settings(t, term.pty)
		term.await("(not shown): ")
		if err := term.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if status := term.end(); status != exitInterrupted {
			t.Errorf("%v: exit status %d: %s", signal, status, term.shown.String())
		}
		if after := settings(t, term.pty); after != before {
			t.Errorf("%v: the terminal is left as %+v, it was %+v", signal, after, before)
		}
	}
}

// pasted types a text that may be larger than the terminal's buffers, while the program
// reads it. The part that the program does not read is lost.
func (term *terminal) pasted(text string) {
	go func() { _, _ = io.WriteString(term.pty, text) }()
}

// settings returns the settings of a terminal.
func settings(t *testing.T, terminal *os.File) unix.Termios {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *state
}

// command is a call of credbus with the worker of dir.
func command(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	// The name makes the test binary act as the program.
	program := filepath.Join(t.TempDir(), "credbus")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "CREDBUS_DATA_DIR="+dir, "HOME="+dir, "GORACE=atexit_sleep_ms=0")
	return cmd
}
