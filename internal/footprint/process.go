package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"
)

const mib = 1 << 20

// process is a worker in a process of its own, on an embedded server.
type process struct {
	command *exec.Cmd
	dir     string
	conn    *nats.Conn
	ended   chan error
	most    atomic.Int64
	stop    context.CancelFunc
	tries   int // of settle
}

// start builds a worker, unless it is given, and runs it until close.
func start(ctx context.Context, o options, env []string, args ...string) (p *process, err error) {
	dir, err := os.MkdirTemp("", "credbus-footprint-")
	if err != nil {
		return nil, err
	}
	p = &process{dir: dir, ended: make(chan error, 1), tries: o.settle}
	ctx, p.stop = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	program := o.worker
	if program == "" {
		program = filepath.Join(dir, "worker")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/worker").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build ./cmd/worker: %w\n%s", err, out)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	p.command = exec.CommandContext(ctx, program, append([]string{"--data-dir", data, "--nats.port", port, "--log.level", "error"}, args...)...)
	p.command.Env = append(append(os.Environ(), "HOME="+dir), append(o.env, env...)...)
	p.command.Stderr = os.Stderr
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasSuffix(line, " is ready.\n") {
		return nil, fmt.Errorf("the worker did not start: %q, %w", line, errors.Join(err, p.command.Wait()))
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		p.ended <- p.command.Wait()
	}()
	if p.conn, _, err = natscontext.Connect(filepath.Join(data, "client.json"), nats.Timeout(10*time.Second)); err != nil {
		return nil, err
	}
	go p.watch(ctx)
	return p, nil
}

// watch keeps the most that is resident.
func (p *process) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if now := p.resident(); now > p.most.Load() {
			p.most.Store(now)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// resident is how much of the process is in memory, 0 when it has ended.
func (p *process) resident() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// settle waits until the resident size does not fall any more, and returns it.
func (p *process) settle() int64 {
	least := p.resident()
	for tries := 0; tries < p.tries; tries++ {
		time.Sleep(300 * time.Millisecond)
		if now := p.resident(); now < least-mib {
			least, tries = now, 0
		}
	}
	p.most.Store(0)
	return least
}

// close ends the process and removes what it left.
func (p *process) close() {
	if p.conn != nil {
		p.conn.Close()
	}
	if p.command != nil && p.command.Process != nil && p.conn != nil {
		_ = p.command.Process.Signal(os.Interrupt)
		select {
		case <-p.ended:
		case <-time.After(30 * time.Second):
			_ = p.command.Process.Kill()
			<-p.ended
		}
	}
	p.stop()
	_ = os.RemoveAll(p.dir)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}
