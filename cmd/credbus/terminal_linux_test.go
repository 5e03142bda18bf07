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

	"github.com/creack/pty"
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
	cmd := command(t, dir, args...)
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

func TestTerminal(t *testing.T) {
	dir := startWorker(t)
	const scope = "org:terminal"

	if status := startOnTerminal(t, dir, "store", scope, "typed", "--value", "typed-"+canary).end(); status != exitOK {
		t.Fatalf("exit status %d", status)
	}
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
	t.Run("control characters", func(t *testing.T) {
		// A title, C1, bidirectional text, a line that is overwritten, and bytes that are not text.
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
				if status := term.end(); status != exitUsage || !bytes.Contains(term.shown.Bytes(), []byte("control this terminal")) {
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
			t.Errorf("lines are shown beside the bar: %q", term.shown.String())
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
