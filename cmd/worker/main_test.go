package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"credbus/internal/testbed"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"worker": main})
}

// TestScripts runs testdata/script: what the worker prints and how it ends if it
// cannot serve. Port $PORT is free, $TAKEN is not.
func TestScripts(t *testing.T) {
	_, taken := listen(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, environment(env.WorkDir)...)
			env.Setenv("PORT", freePort(t))
			env.Setenv("TAKEN", taken)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"refuses": refuses,
			"absent":  absent,
		},
	})
}

// environment returns the environment of a user who has set no variables. dir is the home
// directory.
func environment(dir string) []string {
	return []string{
		"HOME=" + dir,
		"PATH=" + os.Getenv("PATH"),
		"GODEBUG=" + os.Getenv("GODEBUG"), // as make test-fips sets it
		"GORACE=atexit_sleep_ms=0",        // else each end under -race takes a second more
	}
}

// startLimit is how long a wrong setting may take to be reported.
const startLimit = 2 * time.Second

// refuses runs the worker and checks that it fails in time, that stdout is empty,
// and that the reason holds every text: refuses ARGS -- TEXTS.
func refuses(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("refuses cannot be negated")
	}
	var texts []string
	for i, arg := range args {
		if arg == "--" {
			args, texts = args[:i], args[i+1:]
			break
		}
	}
	if len(texts) == 0 {
		ts.Fatalf("usage: refuses ARGS -- TEXTS")
	}
	testbed.Prompt(ts, startLimit, func() {
		if err := ts.Exec("worker", args...); err == nil {
			ts.Fatalf("worker started")
		}
	})
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout has %q", out)
	}
	reason := ts.ReadFile("stderr")
	for _, text := range texts {
		ts.Check(contains(reason, text))
	}
}

// absent checks that a file or directory does not exist.
func absent(ts *testscript.TestScript, _ bool, args []string) {
	if _, err := os.Lstat(ts.MkAbs(args[0])); err == nil {
		ts.Fatalf("%s exists", args[0])
	}
}

// listen takes a port until the test ends.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// freePort is a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	port, err := testbed.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// modes checks that only the owner may enter or read dir and everything below it.
func modes(t *testing.T, dir string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		seen++
		want := os.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s is %#o, want %#o", path, got, want)
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("%d files and directories: %v", seen, err)
	}
}

func contains(text, part string) error {
	if !strings.Contains(text, part) {
		return fmt.Errorf("%q is not in:\n%s", part, text)
	}
	return nil
}
