package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"credbus/internal/testbed"
	"credbus/subjects"
)

// process is a worker in a process of its own.
type process struct {
	command *exec.Cmd
	dir     string // its data directory
	port    string
	started time.Duration // until it said that it is ready
	stderr  bytes.Buffer  // complete once it has ended
	greeted chan string   // its first output, with the commands to try
	output  chan string   // all its output, once it has ended
}

// start runs a worker on dir and waits until it says that it is ready.
func start(t *testing.T, dir, port string, args ...string) *process {
	t.Helper()
	p := startJoined(t, dir, append([]string{"--nats.port", port}, args...)...)
	p.port = port
	return p
}

// startJoined is start for a worker without a NATS server of its own.
func startJoined(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return startWith(t, environment(t.TempDir()), dir, args...)
}

func startWith(t *testing.T, environment []string, dir string, args ...string) *process {
	t.Helper()
	return startProgram(t, "worker", environment, dir, args...)
}

// startProgram is startWith for a worker that was built in another way.
func startProgram(t *testing.T, program string, environment []string, dir string, args ...string) *process {
	t.Helper()
	p := &process{dir: dir, greeted: make(chan string, 1), output: make(chan string, 1)}
	p.command = exec.Command(program, append([]string{"--data-dir", dir}, args...)...)
	p.command.Env = environment
	p.command.Stderr = &p.stderr
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.command.Process.Kill(); p.command.Wait() })
	lines := bufio.NewReader(stdout)
	ready := make(chan error, 1)
	go func() {
		line, err := lines.ReadString('\n')
		if err == nil && !strings.HasSuffix(line, " is ready.\n") {
			err = fmt.Errorf("it began with %q", line)
		}
		ready <- err
		for err == nil && !strings.HasSuffix(line, " watch\n\n") {
			var next string
			next, err = lines.ReadString('\n')
			line += next
		}
		p.greeted <- line
		rest, _ := io.ReadAll(lines)
		p.output <- line + string(rest)
	}()
	select {
	case err := <-ready:
		if err != nil {
			p.command.Wait()
			t.Fatalf("the worker did not start: %v\n%s", err, &p.stderr)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the worker is not ready after 30 s")
	}
	p.started = time.Since(begun)
	return p
}

// greeting is its first output, once it is ready.
func (p *process) greeting(t *testing.T) string {
	t.Helper()
	select {
	case text := <-p.greeted:
		return text
	case <-time.After(20 * time.Second):
		t.Fatal("the worker prints nothing to try")
		return ""
	}
}

// end sends a signal, waits for the end and returns the output.
func (p *process) end(t *testing.T, signal os.Signal) (output string, err error) {
	t.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	select {
	case output = <-p.output:
	case <-time.After(20 * time.Second):
		t.Fatalf("the worker did not end on %v", signal)
	}
	return output, p.command.Wait()
}

func (p *process) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, _, err := natscontext.Connect(filepath.Join(p.dir, "client.json"), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

const scope = "org:acme/team:eng"

func storeRequest(id, value string) []byte {
	return subjects.Append(nil, &subjects.StoreRequest{StoreItem: subjects.StoreItem{
		Target: subjects.Target{ID: subjects.ID(id)}, Data: subjects.Value([]byte(value)),
	}})
}

// stored returns an error unless a credential has this value.
func stored(nc *nats.Conn, id, value string) error {
	request := subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: subjects.ID(id)}}}
	msg, err := nc.Request(subjects.DefaultPrefix.Command(subjects.Retrieve, scope), subjects.Append(nil, &request), 10*time.Second)
	if err != nil {
		return err
	}
	if failure := msg.Header.Get(subjects.HeaderError); failure != "" {
		return fmt.Errorf("%s: %s", id, failure)
	}
	var reply subjects.RetrieveReply
	if err := subjects.Decode(msg.Data, &reply); err != nil {
		return err
	}
	if got := string(reply.Data[subjects.ValueName].Bytes()); got != value {
		return fmt.Errorf("%s is %q, want %q", id, got, value)
	}
	return nil
}

// quickest is the shortest of a few starts: other tests on the machine may delay any of
// them. The test reports how long a start takes, and does not judge it.
func quickest(t *testing.T, dir func() string) time.Duration {
	t.Helper()
	const starts = 3
	least := time.Duration(1<<63 - 1)
	for range starts {
		p := start(t, dir(), freePort(t))
		if _, err := p.end(t, os.Interrupt); err != nil {
			t.Errorf("it ended with %v", err)
		}
		least = min(least, p.started)
	}
	return least
}

func TestReady(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, dir, freePort(t), "--wire.clear", "allow")
	nc := p.connect(t)
	subject := subjects.DefaultPrefix.Command(subjects.Store, scope)
	if msg, err := nc.Request(subject, storeRequest("db", "v"), 10*time.Second); err != nil || msg.Header.Get(subjects.HeaderError) != "" {
		t.Fatalf("store: %v %v", msg, err)
	}
	if err := stored(nc, "db", "v"); err != nil {
		t.Fatal(err)
	}
	modes(t, dir)

	// A second worker on the same directory says how to run beside the first.
	var out []byte
	var err error
	testbed.Prompt(t, startLimit, func() {
		second := exec.Command("worker", "--data-dir", dir, "--nats.port", freePort(t))
		second.Env = environment(t.TempDir())
		out, err = second.CombinedOutput()
	})
	if err == nil || !strings.Contains(string(out), "in use by another process") ||
		!strings.Contains(string(out), "--nats.context "+filepath.Join(dir, "worker.json")) {
		t.Errorf("a second worker said: %s", out)
	}

	output, err := p.end(t, os.Interrupt)
	if err != nil {
		t.Errorf("it ended with %v", err)
	}
	for _, part := range []string{"(embedded)", dir, "client.json", "queue group credbus", "\n  credbus --data-dir " + dir} {
		if err := contains(output, part); err != nil {
			t.Error(err)
		}
	}
	if !strings.HasSuffix(output, "\nstopping: answering the requests under way\n") {
		t.Errorf("it ended with\n%s", output)
	}
	if p.stderr.Len() > 0 {
		t.Errorf("stderr has\n%s", &p.stderr)
	}
	modes(t, dir)
	empty := min(p.started, quickest(t, func() string { return filepath.Join(t.TempDir(), "data") }))
	used := quickest(t, func() string { return dir })
	fmt.Printf("ready after %d ms on an empty directory, %d ms on one in use\n", empty.Milliseconds(), used.Milliseconds())
}

func TestSignalsDrain(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			p := start(t, t.TempDir(), freePort(t))
			nc := p.connect(t)
			const requests = 200
			inbox := nats.NewInbox()
			replies := make(chan *nats.Msg, requests)
			if _, err := nc.ChanSubscribe(inbox, replies); err != nil {
				t.Fatal(err)
			}
			for n := range requests {
				id := fmt.Sprintf("id-%d", n)
				if err := nc.PublishRequest(subjects.DefaultPrefix.Command(subjects.Store, scope), inbox, storeRequest(id, id)); err != nil {
					t.Fatal(err)
				}
			}
			if err := nc.Flush(); err != nil { // the server has them, and so has the worker
				t.Fatal(err)
			}
			if _, err := p.end(t, signal); err != nil {
				t.Errorf("it ended with %v: %s", err, &p.stderr)
			}
			late := 0
			for n := range requests {
				select {
				case msg := <-replies:
					switch failure := msg.Header.Get(subjects.HeaderError); {
					case failure == "":
					case strings.Contains(failure, "could not be announced to the other workers in time"):
						late++ // the disk of a busy machine takes seconds; it was answered, and nothing was lost
					default:
						t.Error(failure)
					}
				case <-time.After(5 * time.Second):
					t.Fatalf("%d of %d are answered", n, requests)
				}
			}
			if late == requests {
				t.Error("none was written")
			} else if late > 0 {
				t.Logf("%d of %d were too late to be written", late, requests)
			}
		})
	}
}

// A worker that has nothing to answer needs no time for that, and closes its server.
func TestStopWithoutTime(t *testing.T) {
	p := start(t, t.TempDir(), freePort(t), "--shutdown.timeout", "0s", "--log.level", "debug")
	if _, err := p.end(t, syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if text := p.stderr.String(); !strings.Contains(text, "JetStream Shutdown") {
		t.Errorf("the server was not closed:\n%s", text)
	}
}

// killWhileWriting kills the worker when so many writes are acknowledged. Each writer writes until
// the worker is not alive any more.
func (p *process) killWhileWriting(t *testing.T, writers, acknowledged int, write func(writer, n int) (stored, alive bool)) {
	t.Helper()
	var group sync.WaitGroup
	var count atomic.Int64
	enough := make(chan struct{})
	for w := range writers {
		group.Go(func() {
			for n := 0; ; n++ {
				stored, alive := write(w, n)
				if !alive {
					return
				}
				if stored && count.Add(1) == int64(acknowledged) {
					close(enough)
				}
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(30 * time.Second):
		t.Fatal("the writes take too long")
	}
	if _, err := p.end(t, os.Kill); err == nil {
		t.Error("it was killed, and ended without an error")
	}
	group.Wait()
}

// Acknowledged writes survive a kill at any instant.
func TestKill(t *testing.T) {
	const rounds, writers, acknowledged = 4, 8, 100
	dir := filepath.Join(t.TempDir(), "data")
	kept := make(map[string]string)
	for round := range rounds {
		p := start(t, dir, freePort(t))
		nc := p.connect(t)
		for id, value := range kept {
			if err := stored(nc, id, value); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		var mu sync.Mutex
		p.killWhileWriting(t, writers, acknowledged, func(w, n int) (stored, alive bool) {
			// Half of them replace what an earlier round stored.
			id, value := fmt.Sprintf("w%d-%d", w, n%20), fmt.Sprintf("%d-%d", round, n)
			mu.Lock()
			delete(kept, id) // unknown until it is acknowledged
			mu.Unlock()
			msg, err := nc.Request(subjects.DefaultPrefix.Command(subjects.Store, scope), storeRequest(id, value), 5*time.Second)
			if err != nil {
				return false, false
			}
			if failure := msg.Header.Get(subjects.HeaderError); failure != "" {
				t.Errorf("store: %s", failure)
				return false, false
			}
			mu.Lock()
			defer mu.Unlock()
			kept[id] = value
			return true, true
		})
		if len(kept) < 20 {
			t.Fatalf("only %d are known to be stored", len(kept))
		}
	}
	p := start(t, dir, freePort(t))
	nc := p.connect(t)
	lost := 0
	for id, value := range kept {
		if err := stored(nc, id, value); err != nil {
			lost++
			t.Error(err)
		}
	}
	if _, err := p.end(t, os.Interrupt); err != nil {
		var exit *exec.ExitError
		t.Errorf("it ended with %v (%v): %s", err, errors.As(err, &exit), &p.stderr)
	}
	modes(t, dir)
	fmt.Printf("kills=%d acknowledged_and_checked=%d lost=%d\n", rounds, len(kept), lost)
}

// A worker in FIPS 140-3 mode says so, and serves: a value is stored, and read from the store and
// from the cache.
func TestFIPS(t *testing.T) {
	for _, mode := range []string{"off", "only"} {
		t.Run(mode, func(t *testing.T) {
			p := startWith(t, append(environment(t.TempDir()), "GODEBUG=fips140="+mode), t.TempDir(), "--nats.port", freePort(t))
			if greeting := p.greeting(t); !strings.Contains(greeting, "FIPS 140-3 mode "+mode+"\n") {
				t.Errorf("it says\n%s", greeting)
			}
			nc := p.connect(t)
			if _, err := nc.Request("cred.v1.store."+strings.ReplaceAll(scope, "/", "."), storeRequest("db", "v"), 10*time.Second); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := stored(nc, "db", "v"); err != nil {
					t.Error(err)
				}
			}
			if _, err := p.end(t, syscall.SIGTERM); err != nil {
				t.Errorf("%v\n%s", err, &p.stderr)
			}
		})
	}
}
