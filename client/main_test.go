package client_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"credbus/client"
	"credbus/internal/config"
	"credbus/internal/worker"
)

// workerURL is the server of a real worker with a memory store, for all tests and
// examples that do not need one of their own. Each uses a scope of its own.
var workerURL string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	if url := os.Getenv(workerProcess); url != "" {
		return serve(url)
	}
	dir, err := os.MkdirTemp("", "credbus-client-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ns, err := newServer(&server.Options{StoreDir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	w, err := newWorker(ns.ClientURL(), dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	workerURL = ns.ClientURL()

	code = m.Run()
	if err := w.Close(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	ns.Shutdown()
	ns.WaitForShutdown()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// workerProcess is a variable that names a server. It makes the test's program a worker
// there until its standard input ends, so that a test can pause it.
const workerProcess = "CREDBUS_TEST_WORKER_OF"

func serve(url string) (code int) {
	w, err := newWorker(url, os.Getenv("HOME"), "CREDBUS_STORE_TYPE=file")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("serving")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := w.Close(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// newServer starts a NATS server with JetStream on a free port, or the one
// that options name.
func newServer(options *server.Options) (*server.Server, error) {
	options.Host = "127.0.0.1"
	if options.Port == 0 {
		options.Port = server.RANDOM_PORT
	}
	options.JetStream = true
	options.NoSigs = true
	options.NoLog = true
	ns, err := server.NewServer(options)
	if err != nil {
		return nil, err
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		return nil, fmt.Errorf("NATS server on port %d is not ready", options.Port)
	}
	return ns, nil
}

func startServer(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	if options.StoreDir == "" {
		options.StoreDir = t.TempDir()
	}
	ns, err := newServer(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	return ns
}

// restart replaces a server by another on the same port.
func restart(t *testing.T, ns *server.Server) {
	t.Helper()
	port := ns.Addr().(*net.TCPAddr).Port
	ns.Shutdown()
	ns.WaitForShutdown()
	startServer(t, &server.Options{Port: port})
}

func newWorker(url, dir string, settings ...string) (*worker.Worker, error) {
	cfg, err := config.Load(nil, append([]string{
		"HOME=" + dir,
		"CREDBUS_NATS_URL=" + url,
		"CREDBUS_STORE_TYPE=memory",
		"CREDBUS_DATA_DIR=" + dir,
	}, settings...))
	if err != nil {
		return nil, err
	}
	return worker.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
}

func startWorker(t *testing.T, url string) {
	t.Helper()
	w, err := newWorker(url, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// connect returns a client of the server at url, closed at the test's end.
func connect(t *testing.T, url string, cfg *client.Config) *client.Client {
	t.Helper()
	c, err := client.Connect(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// scopeOf is a scope that no other test uses.
func scopeOf(t *testing.T) client.Scope {
	return client.Scope("test:" + strconv.FormatUint(scopes.Add(1), 10) + "-" + segment(t.Name()))
}
