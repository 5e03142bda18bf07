package testbed

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Variable names the environment variable with the directory of the beds' programs.
const Variable = "CREDBUS_TEST_BEDS"

// quick is the bed that builds in seconds.
const quick = "nats"

// startTimeout allows for a machine that is busy with other work.
const startTimeout = 2 * time.Minute

// Server is a running bed.
type Server struct {
	program string
	args    []string // besides --data and --port
	data    string
	facts   map[string]string

	mu      sync.Mutex
	process *exec.Cmd
	stdin   io.Closer
}

// Start runs the bed of that name until the test ends. If the beds are not built, it
// skips the test and says how to build them.
func Start(t testing.TB, name string, args ...string) *Server {
	t.Helper()
	program := require(t, name)
	s, err := start(program, t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

var shared sync.Map // of func() (*Server, error) by name

// Shared is Start for a server that all tests of the process share. It ends with the
// process. Tests must not pause or kill it.
func Shared(t testing.TB, name string) *Server {
	t.Helper()
	program := require(t, name)
	once, _ := shared.LoadOrStore(name, sync.OnceValues(func() (*Server, error) {
		// Nobody is left to remove a directory when the process is gone. So these beds
		// keep their data in a directory of their own, and remove that themselves.
		return start(program, "")
	}))
	s, err := once.(func() (*Server, error))()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// require returns the path of a bed's program.
func require(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv(Variable)
	switch {
	case dir == "":
		t.Skipf("there is no %s server to test with: run make test-all, which builds one (%s)", name, Variable)
	case testing.Short() && name != quick:
		t.Skipf("-short: a %s server takes minutes to build: make test-all builds one", name)
	}
	program := filepath.Join(dir, name)
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%s: %v: run make beds", Variable, err)
	}
	return program
}

func start(program, data string, args ...string) (*Server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	s := &Server{program: program, args: args, data: data, facts: map[string]string{"port": strconv.Itoa(port)}}
	return s, s.run()
}

// run starts the process and waits until it serves clients.
func (s *Server) run() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	args := append([]string{"--port", s.facts["port"]}, s.args...)
	if s.data != "" {
		args = append(args, "--data", s.data)
	}
	process := exec.Command(s.program, args...)
	process.SysProcAttr = dieWithParent()
	process.Stderr = new(tail)
	stdin, err := process.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	s.process, s.stdin = process, stdin
	line := make(chan []byte, 1)
	go func() {
		defer close(line)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		if lines.Scan() {
			line <- lines.Bytes()
		}
		_, _ = io.Copy(io.Discard, stdout)
	}()
	select {
	case facts, ok := <-line:
		if ok {
			err = json.Unmarshal(facts, &s.facts)
		} else {
			err = errors.New("it ended before it served")
		}
	case <-time.After(startTimeout):
		err = fmt.Errorf("it does not serve after %s", startTimeout)
	}
	if err != nil {
		s.endLocked()
		return fmt.Errorf("bed %s: %w\n%s", s.program, err, process.Stderr)
	}
	return nil
}

// Fact is one of the strings that the bed printed, such as "address".
func (s *Server) Fact(name string) string { return s.facts[name] }

// Kill ends the process as kill -9 does.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked()
}

func (s *Server) endLocked() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.stdin.Close()
	_ = s.process.Wait()
	s.process = nil
}

// Restart kills the process if it runs, and starts it again with the same data and port.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (w *tail) Write(p []byte) (int, error) {
	const most = 8 << 10
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	w.text = w.text[max(0, len(w.text)-most):]
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}
