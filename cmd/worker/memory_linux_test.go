package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"credbus/client"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// marker is text that occurs nowhere else.
func marker() []byte { return []byte(rand.Text() + rand.Text() + rand.Text()) }

// buildPrograms builds the worker and the command line without the race detector, which keeps copies of
// memory. It returns their directory.
func buildPrograms(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, pkg := range map[string]string{"worker": ".", "credbus": "../credbus"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return dir
}

// unpreempted is the environment of a process whose memory is looked at. When the runtime preempts
// a goroutine by a signal, the kernel writes the vector registers to the stack of the signal, with
// what the thread has copied last, and there they stay until the next signal. No program can wipe that.
func unpreempted(environment []string) []string {
	for i, variable := range environment {
		if name, value, _ := strings.Cut(variable, "="); name == "GODEBUG" {
			environment[i] = "GODEBUG=" + strings.TrimPrefix(value+",asyncpreemptoff=1", ",")
		}
	}
	return environment
}

// wantNoTraces looks for a value in the memory of a process a second after its last use.
func wantNoTraces(t *testing.T, pid int, after string, value []byte) {
	t.Helper()
	time.Sleep(time.Second)
	found := testbed.Traces(t, pid, value)
	fmt.Printf("memory: %s traces=%d\n", after, len(found))
	if len(found) > 0 {
		t.Errorf("%s leaves %d traces, the first %v", after, len(found), found[0])
	}
}

// scanned is a worker whose memory is looked at, with a client.
type scanned struct {
	t *testing.T
	*process
	*client.Client
	programs string
}

func newScanned(t *testing.T, programs, store string, inClear bool) scanned {
	t.Helper()
	dir := t.TempDir()
	settings := filepath.Join(t.TempDir(), "worker.yaml")
	text := fmt.Sprintf("stores: {spare: {type: file, dir: %q}}\n", filepath.Join(dir, "spare"))
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, filepath.Join(programs, "worker"), unpreempted(environment(t.TempDir())), dir,
		"--config", settings, "--store.type", store, "--nats.port", freePort(t))
	c, err := client.Connect("", &client.Config{Conn: p.connect(t), Clear: inClear})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return scanned{t, p, c, programs}
}

func (s scanned) check(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

func (s scanned) put(id string, value []byte) {
	s.t.Helper()
	_, err := s.Store(s.t.Context(), scope, client.ID(id), client.Value(value), nil)
	s.check("store", err)
}

func (s scanned) get(id string, opts *client.RetrieveOptions) {
	s.t.Helper()
	_, err := s.Retrieve(s.t.Context(), scope, client.ID(id), opts)
	s.check("retrieve", err)
}

// credbus runs the command line against the worker.
func (s scanned) credbus(stdin string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.programs, "credbus"), append(args, "--data-dir", s.dir)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("credbus %s: %v\n%s", args, err, out)
	}
}

// ways are all ways to use a value.
var ways = map[string]func(s scanned, value []byte){
	"store": func(s scanned, value []byte) { s.put("store", value) },
	"hit": func(s scanned, value []byte) {
		s.put("hit", value)
		for range 3 {
			s.get("hit", nil)
		}
	},
	"miss": func(s scanned, value []byte) {
		s.put("miss", value)
		for range 3 {
			s.get("miss", &client.RetrieveOptions{Fresh: true})
		}
	},
	"delete": func(s scanned, value []byte) {
		s.put("delete", value)
		s.check("delete", s.Delete(s.t.Context(), scope, "delete", nil))
	},
	"patch": func(s scanned, value []byte) {
		s.put("patch", value)
		_, err := s.Patch(s.t.Context(), scope, "patch", client.Patch{Tags: map[string]string{"env": "prod"}})
		s.check("patch", err)
	},
	"batch": func(s scanned, value []byte) {
		var stores []client.StoreItem
		var reads []client.RetrieveItem
		for n := range 20 {
			id := client.ID(fmt.Sprint("batch", n))
			stores = append(stores, client.StoreItem{ID: id, Data: client.Value(value)})
			reads = append(reads, client.RetrieveItem{ID: id})
		}
		_, err := s.StoreBatch(s.t.Context(), scope, stores, nil)
		s.check("store_batch", err)
		_, err = s.RetrieveBatch(s.t.Context(), scope, reads, nil)
		s.check("retrieve_batch", err)
	},
	"job": func(s scanned, value []byte) {
		_, err := s.StoreJob(s.t.Context(), scope, []client.StoreItem{{ID: "job", Data: client.Value(value)}}, nil)
		s.check("job", err)
		s.await("job")
	},
	"import": func(s scanned, value []byte) {
		s.credbus(fmt.Sprintf(`{"scope":%q,"id":"import","data":{"value":%q}}`, scope, value), "import", "-")
		s.get("import", nil)
	},
	"migration": func(s scanned, value []byte) {
		s.put("migration", value)
		s.credbus("", "migrate", scope, "--from", "default", "--to", "spare")
	},
	"key rotation": func(s scanned, value []byte) {
		s.put("rotation", value)
		s.credbus("", "keys", "rotate", "--add", scope)
		s.get("rotation", &client.RetrieveOptions{Fresh: true})
	},
}

// TestNoValueStaysInMemory uses a worker in every way, by sealed requests, and then looks for the
// values in its memory.
func TestNoValueStaysInMemory(t *testing.T) {
	programs := buildPrograms(t)
	for _, store := range []string{"file", "jetstream"} {
		s := newScanned(t, programs, store, false)
		for name, use := range ways {
			value := marker()
			use(s, value)
			wantNoTraces(t, s.command.Process.Pid, store+" "+name, value)
		}
	}
}

// TestNoValueStaysInTheCommandLine looks into commands that still run after the last use of a
// value: an import that waits for more lines, and a submission that waits for its job.
func TestNoValueStaysInTheCommandLine(t *testing.T) {
	s := newScanned(t, buildPrograms(t), "file", false)
	line := func(n int, value []byte) string {
		return fmt.Sprintf("{\"scope\":%q,\"id\":\"line%d\",\"data\":{\"value\":%q}}\n", scope, n, value)
	}
	value := marker()
	var lines strings.Builder
	lines.WriteString(line(0, value))
	for n := 1; n <= 2*subjects.MaxBatchItems; n++ {
		lines.WriteString(line(n, []byte("of no interest")))
	}
	importer, input := s.starts("import", "-")
	if _, err := io.WriteString(input, lines.String()); err != nil {
		t.Fatal(err)
	}
	s.await("line100")
	wantNoTraces(t, importer.Process.Pid, "credbus import", value)

	value = marker()
	submitter, input := s.starts("jobs", "submit", scope, "--command", "store", "--wait", "--not-before", "1h")
	if _, err := io.WriteString(input, line(1000, value)); err != nil {
		t.Fatal(err)
	}
	input.Close()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		count := 0
		for _, err := range s.Jobs(t.Context(), scope, nil) {
			s.check("job_list", err)
			count++
		}
		if count == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the job is not submitted")
		}
	}
	wantNoTraces(t, submitter.Process.Pid, "credbus jobs submit", value)
}

// starts starts the command line, and returns its standard input. The command ends with the test.
func (s scanned) starts(args ...string) (*exec.Cmd, io.WriteCloser) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.programs, "credbus"), append(args, "--data-dir", s.dir)...)
	cmd.Env = unpreempted(environment(s.t.TempDir()))
	input, err := cmd.StdinPipe()
	s.check("stdin", err)
	s.check("start", cmd.Start())
	s.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, input
}

// await waits until a credential exists.
func (s scanned) await(id client.ID) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.Retrieve(s.t.Context(), scope, id, nil); err == nil {
			return
		} else if time.Now().After(end) {
			s.t.Fatalf("%s is not stored: %v", id, err)
		}
	}
}

// The worker leaves no core dump, even if it is made to.
func TestCoreDumpsAreOff(t *testing.T) {
	p := start(t, t.TempDir(), freePort(t))
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`(?m)^Max core file size +1 +1 `).Match(limits); !found {
		t.Errorf("its limits are\n%s", limits)
	}
	_, err = p.end(t, syscall.SIGABRT)
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).CoreDump() {
		t.Errorf("it ended with %v", err)
	}
}

// TestTracesAreFound is the control: what requests in clear leave in the buffers of the NATS server
// and client is found, in each form.
func TestTracesAreFound(t *testing.T) {
	s := newScanned(t, buildPrograms(t), "file", true)
	for name, form := range map[string]func(value []byte) []byte{
		"as it is":           bytes.Clone,
		"in base64":          func(value []byte) []byte { return base64.StdEncoding.AppendEncode(nil, value) },
		"in base64, shifted": func(value []byte) []byte { return base64.StdEncoding.AppendEncode(nil, append([]byte("x"), value...)) },
		"in hexadecimal":     func(value []byte) []byte { return hex.AppendEncode(nil, value) },
		"a piece":            func(value []byte) []byte { return value[32:48] },
	} {
		value := marker()
		s.put("control", form(value))
		if found := testbed.Traces(t, s.command.Process.Pid, value); len(found) == 0 {
			t.Errorf("a value %s is not found", name)
		}
	}
}
