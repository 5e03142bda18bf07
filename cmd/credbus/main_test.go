package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/synadia-io/orbit.go/natscontext"

	"credbus/internal/config"
	"credbus/internal/seal"
	"credbus/internal/worker"
)

// canary is part of every value that a script stores in clear. It must never
// reach stderr.
const canary = "s3cret"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"credbus": main})
}

// TestScripts runs testdata/script. All scripts but one share a worker, which has a file
// store and a spare one to migrate to. Each uses a scope of its own: $SCOPE.
//
// tenant_add has a worker of its own, whose server takes up users while it runs: there,
// nats-server 2.15.3 reads the user name of a client that connects at that moment without a
// lock (auth.go:1015, client.go:1040). The value written is the same, but the race detector
// fails the test.
//
// The variables are as on a machine where that worker runs and nothing else is
// set up. $OTHER_SERVER is a NATS server with the answers of fake_test.go.
func TestScripts(t *testing.T) {
	dir, tenants := startWorker(t), startWorker(t)
	fake := startFake(t, dir)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			env.Setenv("GORACE", "atexit_sleep_ms=0")   // else each run under -race takes a second more
			env.Setenv("GODEBUG", os.Getenv("GODEBUG")) // as make test-fips sets it
			env.Setenv("OTHER_SERVER", fake)
			name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
			env.Setenv("SCOPE", "script:"+name)
			env.Setenv("CREDBUS_DATA_DIR", dir)
			if name == "tenant_add" {
				env.Setenv("CREDBUS_DATA_DIR", tenants)
			}
			env.Setenv("canary", canary)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"becomes": becomes,
			"await":   awaitText,
			"damage":  func(ts *testscript.TestScript, _ bool, args []string) { damage(ts, dir, args[0]) },
			"mode":    mode,
			"keyring": newKeyring,
			"post":    func(ts *testscript.TestScript, _ bool, args []string) { post(ts, dir, args[0], args[1]) },
		},
	})
}

func startWorker(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	file := filepath.Join(t.TempDir(), "worker.yaml")
	const stores = "audit: {level: all, sink: both}\nstore: {routes: [\"script:elsewhere=routed\"]}\nstores: {spare: {type: memory}, routed: {type: memory}}\n"
	if err := os.WriteFile(file, []byte(stores), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(nil, []string{"HOME=" + dir, "CREDBUS_DATA_DIR=" + dir, "CREDBUS_CONFIG=" + file})
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATS.Port = -1 // any that is free
	w, err := worker.Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// exits runs credbus and checks what holds for every command:
//
//	exits [-results] STATUS [credbus arguments...]
//
// The exit status is STATUS. When that is not 0, stderr ends in one line that
// begins with "credbus: ", and stdout is empty unless -results is given. The
// canary is never on stderr.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! exits")
	}
	results := args[0] == "-results"
	if results {
		args = args[1:]
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("usage: exits [-results] STATUS [credbus arguments...]")
	}
	got := 0
	if err := ts.Exec("credbus", args[1:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
	if strings.Contains(stderr, canary) {
		ts.Fatalf("stderr holds the value: %s", stderr)
	}
	if want == exitOK {
		return
	}
	if stdout != "" && !results {
		ts.Fatalf("it failed, and still printed to stdout")
	}
	if !strings.HasPrefix(stderr, "credbus: ") || !strings.HasSuffix(stderr, "\n") {
		ts.Fatalf("stderr is not a line of credbus: %q", stderr)
	}
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "credbus: ") {
			ts.Fatalf("an error takes more than one line: %q", stderr)
		}
	}
}

// becomes repeats exits 0 until stdout matches a pattern, since a busy machine may change
// the result for a moment: becomes PATTERN [credbus arguments...].
func becomes(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		exits(ts, false, append([]string{"0"}, args[1:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after 30 s it does not print %s", args[0])
		}
	}
}

// awaitText waits until a file, which a background command writes, holds a
// text: await FILE TEXT.
func awaitText(ts *testscript.TestScript, _ bool, args []string) {
	file, text := ts.MkAbs(args[0]), args[1]
	for range 3000 {
		content, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			ts.Fatalf("%v", err)
		}
		if strings.Contains(string(content), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s does not hold %q after 30 s", args[0], text)
}

// damage changes the last byte of the file in which the worker keeps the
// credential of that ID. No other script may use the ID.
func damage(ts *testscript.TestScript, dir, id string) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == "@"+id+".cred" {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) != 1 {
		ts.Fatalf("files of %s: %q, %v", id, found, err)
	}
	content, err := os.ReadFile(found[0])
	if err != nil {
		ts.Fatalf("%v", err)
	}
	content[len(content)-1] ^= 0xff
	if err := os.WriteFile(found[0], content, 0o600); err != nil {
		ts.Fatalf("%v", err)
	}
}

// mode checks the mode of a file: mode 0600 FILE.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	if err != nil {
		ts.Fatalf("%v", err)
	}
	if got := fmt.Sprintf("%#o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("mode of %s is %s, want %s", args[1], got, args[0])
	}
}

// newKeyring creates a keyring file that no worker has: keyring FILE.
func newKeyring(ts *testscript.TestScript, _ bool, args []string) {
	_, err := seal.CreateKeyring(ts.MkAbs(args[0]))
	ts.Check(err)
}

// post publishes a file as a job, as the nats command would: post SUBJECT FILE.
func post(ts *testscript.TestScript, dir, subject, file string) {
	nc, _, err := natscontext.Connect(filepath.Join(dir, "client.json"))
	ts.Check(err)
	defer nc.Close()
	ack, err := nc.Request(subject, []byte(ts.ReadFile(file)), 10*time.Second)
	ts.Check(err)
	if !strings.Contains(string(ack.Data), `"seq":`) {
		ts.Fatalf("%s", ack.Data)
	}
}
