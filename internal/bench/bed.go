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

// bed is the set of processes that are measured.
type bed struct {
	dir       string
	url       string
	processes []*exec.Cmd // server, workers, echo
}

// cpu is the processor time of each process and, last, of this one.
func (b *bed) cpu() (used []time.Duration) {
	for _, p := range b.processes {
		used = append(used, cpuTime(p.Process.Pid))
	}
	return append(used, cpuTime(os.Getpid()))
}

// startBed builds and starts a NATS server and the workers, the real programs.
func startBed(ctx context.Context) (b *bed, err error) {
	b = &bed{}
	if b.dir, err = os.MkdirTemp("", "credbus-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	for name, pkg := range map[string]string{"nats-server": "github.com/nats-io/nats-server/v2", "worker": "./cmd/worker"} {
		build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(b.dir, name), pkg)
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b.url = "nats://127.0.0.1:" + strconv.Itoa(port)
	if err := b.start(ctx, filepath.Join(b.dir, "nats-server"), nil,
		"--addr", "127.0.0.1", "--port", strconv.Itoa(port), "--jetstream", "--store_dir", filepath.Join(b.dir, "jetstream")); err != nil {
		return nil, err
	}
	if err := b.await(ctx, ""); err != nil {
		return nil, err
	}
	for _, w := range workers {
		if err := b.start(ctx, filepath.Join(b.dir, "worker"), []string{"NATS_URL=" + b.url},
			"--data-dir", filepath.Join(b.dir, w.mode), "--nats.prefix", string(w.prefix),
			"--nats.queue", w.mode, "--stream.name", w.mode, "--coherence.mode", w.mode); err != nil {
			return nil, err
		}
		// Whatever it answers, it answers.
		if err := b.await(ctx, w.prefix.Command(subjects.Retrieve, scope)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *bed) startEcho(ctx context.Context, replyLen int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := b.start(ctx, self, nil, "-echo", echoSubscription, "-url", b.url, "-reply", strconv.Itoa(replyLen)); err != nil {
		return err
	}
	return b.await(ctx, echoSubject)
}

func (b *bed) start(ctx context.Context, program string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	if filepath.Base(program) == "nats-server" {
		cmd.Stderr = nil // it logs its start there
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.processes = append(b.processes, cmd)
	return nil
}

// await returns when somebody answers on subject or, when that is empty, when
// the server takes connections.
func (b *bed) await(ctx context.Context, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var nc *nats.Conn
	for {
		var err error
		if nc == nil {
			nc, err = nats.Connect(b.url)
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
			return errors.Join(fmt.Errorf("waiting for %q at %s", subject, b.url), err)
		}
	}
}

// stop ends the processes, the last first, and removes what they left.
func (b *bed) stop() {
	for i := len(b.processes) - 1; i >= 0; i-- {
		_ = b.processes[i].Process.Signal(os.Interrupt)
		_ = b.processes[i].Wait()
	}
	_ = os.RemoveAll(b.dir)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
