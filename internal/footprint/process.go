package main

import (
	"bufio"
	"context"
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
	program string
	args    []string
	env     []string
	dir     string
	tries   int // of settle

	command *exec.Cmd // nil while none runs
	conn    *nats.Conn
	ended   chan error
	most    atomic.Int64
	stop    context.CancelFunc // of watch
}

// start runs a worker until close. It builds one if the options name none.
func start(ctx context.Context, o options, env []string, args ...string) (p *process, err error) {
	dir, err := os.MkdirTemp("", "credbus-footprint-")
	if err != nil {
		return nil, err
	}
	p = &process{program: o.worker, dir: dir, tries: o.settle}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.program == "" {
		p.program = filepath.Join(dir, "worker")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", p.program, "./cmd/worker").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build ./cmd/worker: %w\n%s", err, out)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p.args = append([]string{"--data-dir", filepath.Join(dir, "data"), "--nats.port", port, "--log.level", "error"}, args...)
	p.env = append(append(os.Environ(), "HOME="+dir), append(o.env, env...)...)
	return p, p.launch(ctx)
}

// launch runs the worker and connects to it.
func (p *process) launch(ctx context.Context) error {
	command := exec.CommandContext(ctx, p.program, p.args...)
	command.Env, command.Stderr = p.env, os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	p.command, p.ended = command, make(chan error, 1)
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		p.ended <- command.Wait()
	}()
	if err != nil || !strings.HasSuffix(line, " is ready.\n") {
		return fmt.Errorf("the worker did not start: %q, %w", line, err)
	}
	if p.conn, err = p.connect(); err != nil {
		return err
	}
	ctx, p.stop = context.WithCancel(ctx)
	go p.watch(ctx, command.Process.Pid)
	return nil
}

func (p *process) connect(opts ...nats.Option) (*nats.Conn, error) {
	conn, _, err := natscontext.Connect(filepath.Join(p.dir, "data", "client.json"), append(opts, nats.Timeout(10*time.Second))...)
	return conn, err
}

// watch records the largest resident size.
func (p *process) watch(ctx context.Context, pid int) {
	for ctx.Err() == nil {
		if now := resident(pid); now > p.most.Load() {
			p.most.Store(now)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *process) resident() int64 { return resident(p.command.Process.Pid) }

// resident is the resident size of a process in bytes, 0 if it has ended.
func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
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

// halt ends the process, and keeps what it stored.
func (p *process) halt() {
	if p.stop != nil {
		p.stop()
	}
	if p.conn != nil {
		p.conn.Close()
	}
	if p.command != nil {
		_ = p.command.Process.Signal(os.Interrupt)
		select {
		case <-p.ended:
		case <-time.After(30 * time.Second):
			_ = p.command.Process.Kill()
			<-p.ended
		}
	}
	p.command, p.conn, p.stop = nil, nil, nil
	p.most.Store(0)
}

// close ends the process, and removes what it stored.
func (p *process) close() {
	p.halt()
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
