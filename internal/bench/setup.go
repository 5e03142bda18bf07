package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// setup is the set of processes that the benchmark measures.
type setup struct {
	dir       string
	url       string
	processes []*exec.Cmd // server, workers, echo
}

// cpu is the processor time of each process and, last, of this one.
func (s *setup) cpu() (used []time.Duration) {
	for _, p := range s.processes {
		used = append(used, cpuTime(p.Process.Pid))
	}
	return append(used, cpuTime(os.Getpid()))
}

// startSetup builds and starts a NATS server and the workers, the real programs.
func startSetup(ctx context.Context) (s *setup, err error) {
	s = &setup{}
	if s.dir, err = os.MkdirTemp("", "credbus-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	for name, pkg := range map[string]string{"nats-server": "github.com/nats-io/nats-server/v2", "worker": "./cmd/worker"} {
		build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(s.dir, name), pkg)
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s.url = "nats://127.0.0.1:" + strconv.Itoa(port)
	if err := s.start(ctx, filepath.Join(s.dir, "nats-server"), nil,
		"--addr", "127.0.0.1", "--port", strconv.Itoa(port), "--jetstream", "--store_dir", filepath.Join(s.dir, "jetstream")); err != nil {
		return nil, err
	}
	if err := s.await(ctx, ""); err != nil {
		return nil, err
	}
	for _, w := range workers {
		if err := s.start(ctx, filepath.Join(s.dir, "worker"), []string{"NATS_URL=" + s.url},
			append([]string{
				"--data-dir", filepath.Join(s.dir, w.name), "--nats.prefix", string(w.prefix),
				"--nats.queue", w.name, "--stream.name", w.name,
			}, w.args...)...); err != nil {
			return nil, err
		}
		// Any answer shows that the worker serves, an error too.
		if err := s.await(ctx, w.prefix.Command(subjects.Retrieve, scope)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *setup) startEcho(ctx context.Context, replyLen int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := s.start(ctx, self, nil, "-echo", echoSubscription, "-url", s.url, "-reply", strconv.Itoa(replyLen)); err != nil {
		return err
	}
	return s.await(ctx, echoSubject)
}

func (s *setup) start(ctx context.Context, program string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	if filepath.Base(program) == "nats-server" {
		cmd.Stderr = nil // it logs its start there
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, cmd)
	return nil
}

// await returns once a program answers on subject or, if subject is empty, once
// the server accepts connections.
func (s *setup) await(ctx context.Context, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var nc *nats.Conn
	for {
		var err error
		if nc == nil {
			nc, err = nats.Connect(s.url)
		}
		if err == nil && subject != "" {
			_, err = nc.RequestWithContext(ctx, subject, nil)
		}
		if err == nil {
			nc.Close()
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for %q at %s", subject, s.url), err)
		}
	}
}

// stop ends the processes, the last one first, and removes their files.
func (s *setup) stop() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		_ = s.processes[i].Process.Signal(os.Interrupt)
		_ = s.processes[i].Wait()
	}
	_ = os.RemoveAll(s.dir)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
