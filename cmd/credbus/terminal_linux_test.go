package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// terminal runs credbus on a terminal of its own.
type terminal struct {
	t     *testing.T
	cmd   *exec.Cmd
	pty   *os.File
	shown bytes.Buffer
}

func startOnTerminal(t *testing.T, dir string, args ...string) *terminal {
	t.Helper()
	// The name is what makes the test binary act as the program.
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
	file, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &terminal{t: t, cmd: cmd, pty: file}
}

// await reads until the terminal shows a text.
func (term *terminal) await(text string) {
	term.t.Helper()
	buffer := make([]byte, 1024)
	for !bytes.Contains(term.shown.Bytes(), []byte(text)) {
		n, err := term.pty.Read(buffer)
		term.shown.Write(buffer[:n])
		if err != nil {
			term.t.Fatalf("the terminal shows %q, and not %q: %v", term.shown.String(), text, err)
		}
	}
}

func (term *terminal) typed(text string) {
	term.t.Helper()
	if _, err := io.WriteString(term.pty, text); err != nil {
		term.t.Fatal(err)
	}
}

// end reads to the end and returns the exit status.
func (term *terminal) end() int {
	term.t.Helper()
	// A terminal whose program is gone reads as EIO on Linux.
	if _, err := io.Copy(&term.shown, term.pty); err != nil && !errors.Is(err, syscall.EIO) {
		term.t.Fatal(err)
	}
	err := term.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		term.t.Fatal(err)
	}
	return 0
}

// awaitEcho waits until the terminal echoes what is typed, or does not.
func (term *terminal) awaitEcho(want bool) {
	term.t.Helper()
	for range 3000 {
		if echoes(term.t, term.pty) == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	term.t.Fatalf("after 30 s the terminal's echo is still %v", !want)
}

func TestTerminal(t *testing.T) {
	dir := startWorker(t)
	const scope = "org:terminal"

	t.Run("prompt", func(t *testing.T) {
		term := startOnTerminal(t, dir, "store", scope, "typed")
		term.await("Value of org:terminal/typed (not shown): ")
		term.awaitEcho(false)
		term.typed("typed-" + canary + "\n")
		if status := term.end(); status != exitOK {
			t.Fatalf("exit status %d: %s", status, term.shown.String())
		}
		if bytes.Contains(term.shown.Bytes(), []byte(canary)) {
			t.Errorf("what was typed shows: %q", term.shown.String())
		}
	})
	t.Run("value ends with a newline", func(t *testing.T) {
		term := startOnTerminal(t, dir, "retrieve", scope, "typed")
		if status := term.end(); status != exitOK {
			t.Fatalf("exit status %d", status)
		}
		// A terminal makes \r\n of \n. That there is one only shows that the
		// newline which ended the prompt was not stored.
		if got, want := term.shown.String(), "typed-"+canary+"\r\n"; got != want {
			t.Errorf("shows %q, want %q", got, want)
		}
	})
	t.Run("nothing typed", func(t *testing.T) {
		term := startOnTerminal(t, dir, "store", scope, "nothing")
		term.await("(not shown): ")
		term.typed("\n")
		if status := term.end(); status != exitUsage {
			t.Errorf("exit status %d: %s", status, term.shown.String())
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		term := startOnTerminal(t, dir, "store", scope, "interrupted")
		term.await("(not shown): ")
		term.awaitEcho(false)
		term.typed("half-a-" + canary + "\x03")
		term.await("interrupted")
		term.awaitEcho(true)
		if status := term.end(); status != exitInterrupted {
			t.Errorf("exit status %d: %s", status, term.shown.String())
		}
		if bytes.Contains(term.shown.Bytes(), []byte(canary)) {
			t.Errorf("what was typed shows: %q", term.shown.String())
		}
		term = startOnTerminal(t, dir, "retrieve", scope, "interrupted")
		if status := term.end(); status != exitNotFound {
			t.Errorf("it was stored: exit status %d", status)
		}
	})
	t.Run("export is refused", func(t *testing.T) {
		term := startOnTerminal(t, dir, "export", scope)
		if status := term.end(); status != exitUsage {
			t.Errorf("exit status %d", status)
		}
		if bytes.Contains(term.shown.Bytes(), []byte(canary)) {
			t.Errorf("the export shows: %q", term.shown.String())
		}
		term = startOnTerminal(t, dir, "export", scope, "--force")
		if status := term.end(); status != exitOK || !bytes.Contains(term.shown.Bytes(), []byte(canary)) {
			t.Errorf("with --force: exit status %d: %q", status, term.shown.String())
		}
	})
	t.Run("what steers it", func(t *testing.T) {
		// A title, C1, bidirectional, a line that is overwritten, and what is no text.
		for i, value := range []string{"\x1b]0;owned\a", "a\u009bb", "abc\u202edcba", "hidden\rshown", "\xff\xfe"} {
			id := fmt.Sprint("steers-", i)
			file := filepath.Join(t.TempDir(), "value")
			if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
				t.Fatal(err)
			}
			if status := startOnTerminal(t, dir, "store", "org:steers", id, "--file", file, "--description", "d\u202e"+id).end(); status != exitOK {
				t.Fatalf("exit status %d", status)
			}
			for _, args := range [][]string{{}, {"-o", "env"}} {
				term := startOnTerminal(t, dir, append([]string{"retrieve", "org:steers", id}, args...)...)
				if status := term.end(); status != exitUsage || !bytes.Contains(term.shown.Bytes(), []byte("steer this terminal")) {
					t.Errorf("%q %q: exit status %d, shows %q", value, args, status, term.shown.String())
				}
			}
			for _, args := range [][]string{{"retrieve", "org:steers", id, "-o", "json"}, {"list", "org:steers"}, {"list", "org:steers", "-o", "json"}} {
				term := startOnTerminal(t, dir, args...)
				if status := term.end(); status != exitOK {
					t.Errorf("%q: exit status %d", args, status)
				}
				shown := bytes.ReplaceAll(term.shown.Bytes(), []byte("\r\n"), []byte("\n"))
				if !plain(shown) {
					t.Errorf("%q shows %q", args, shown)
				}
			}
		}
	})
	t.Run("jobs", func(t *testing.T) {
		term := startOnTerminal(t, dir, "jobs", "submit", scope, "--command", "validate", "--all", "--wait")
		if status := term.end(); status != exitOK {
			t.Errorf("exit status %d", status)
		}
		for _, want := range []string{"running", "jobs: 2 done; "} {
			if !bytes.Contains(term.shown.Bytes(), []byte(want)) {
				t.Errorf("shows %q, without %q", term.shown.String(), want)
			}
		}
		if bytes.Contains(term.shown.Bytes(), []byte("1 accepted")) {
			t.Errorf("beside the bar, lines are shown: %q", term.shown.String())
		}
	})
	t.Run("progress", func(t *testing.T) {
		lines := filepath.Join(t.TempDir(), "lines")
		content := `{"scope":"org:terminal","id":"a","value":"s3cret"}` + "\n" + `{"scope":"org:terminal"}` + "\n"
		if err := os.WriteFile(lines, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		term := startOnTerminal(t, dir, "import", lines)
		if status := term.end(); status != exitOther {
			t.Errorf("exit status %d", status)
		}
		for _, want := range []string{"importing", "credbus: line 2: "} {
			if !bytes.Contains(term.shown.Bytes(), []byte(want)) {
				t.Errorf("shows %q, without %q", term.shown.String(), want)
			}
		}
	})
}

// echoes reports whether the terminal shows what is typed.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}
