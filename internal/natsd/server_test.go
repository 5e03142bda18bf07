package natsd_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/natscontext"

	"credbus/internal/natsd"
)

// helperDir makes the test binary serve this directory until it is killed.
const helperDir = "CREDBUS_TEST_NATSD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		serveUntilKilled(dir)
	}
	os.Exit(m.Run())
}

func serveUntilKilled(dir string) {
	s, err := natsd.Start(context.Background(), natsd.Config{Dir: dir, Port: natsd.RandomPort})
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString(s.URL() + "\n")
	select {}
}

// logBuffer collects log lines of several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, config natsd.Config) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// connect sends the errors of the connection to the channel.
func connect(t *testing.T, contextFile string) (*nats.Conn, chan error) {
	t.Helper()
	failures := make(chan error, 16)
	nc, _, err := natscontext.Connect(contextFile, nats.ErrorHandler(
		func(_ *nats.Conn, _ *nats.Subscription, err error) { failures <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, failures
}

// refused reports whether the server refused what nc did before.
func refused(t *testing.T, nc *nats.Conn, failures chan error) bool {
	t.Helper()
	// The server answers in order, so a refusal arrives before the answer to the flush. The
	// reader sets LastError at once, but the error handler runs in another goroutine.
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if nc.LastError() == nil {
		return false
	}
	select {
	case err := <-failures:
		return strings.Contains(strings.ToLower(err.Error()), "permissions violation")
	case <-time.After(5 * time.Second):
		t.Fatalf("LastError is %v and was not reported", nc.LastError())
		return false
	}
}

func TestClientPermissions(t *testing.T) {
	s := start(t, natsd.Config{Dir: t.TempDir(), Port: natsd.RandomPort, Prefix: "acme.cred"})
	// The text in "nats context ls" says why a client sees no streams.
	if description := readContext(t, s.ClientContext())["description"]; !strings.Contains(description, "not see streams") {
		t.Errorf("client.json says %q", description)
	}
	tests := []struct {
		subject            string
		publish, subscribe bool
	}{
		{"acme.cred.retrieve", true, false},
		{"acme.cred.retrieve.org:acme.team:eng", true, false},
		{"acme.cred.store.org:acme", true, false},
		{"acme.cred.delete.org:acme", true, false},
		{"acme.cred.list.org:acme", true, false},
		{"acme.cred.validate.org:acme", true, false},
		{"acme.cred.store_batch.org:acme", true, false},
		{"acme.cred.retrieve_batch.org:acme", true, false},
		{"acme.cred.delete_batch.org:acme", true, false},
		{"acme.cred.validate_batch.org:acme", true, false},
		{"acme.cred.clear_cache", true, false},
		{"acme.cred.cache_stats", true, false},
		{"acme.cred.job.store_batch.org:acme", true, false},
		{"$SRV.PING", true, false},
		{"_INBOX.mine.1", false, true},
		{"acme.cred.event.org:acme.db", false, true},
		{"acme.cred.job_status.org:acme.j1", false, true},
		{"acme.cred.coherence.ping", false, false},
		{"acme.cred.unknown.org:acme", false, false},
		{"cred.v1.retrieve.org:acme", false, false},
		{"$JS.API.STREAM.LIST", false, false},
		{"$JS.API.CONSUMER.MSG.NEXT.CREDBUS.jobs", false, false},
		{"$KV.secrets.key", false, false},
		{"$KV.CREDBUS_CREDENTIALS.org=acme.db", false, false},
		{"$KV.>", false, false},
		{"$JS.API.STREAM.INFO.KV_CREDBUS_CREDENTIALS", false, false},
		{"$JS.API.STREAM.MSG.GET.KV_CREDBUS_CREDENTIALS", false, false},
		{"$JS.API.STREAM.PURGE.KV_CREDBUS_CREDENTIALS", false, false},
		{"$JS.API.STREAM.UPDATE.KV_CREDBUS_CREDENTIALS", false, false},
		{"$JS.API.STREAM.CREATE.MIRROR", false, false},
		{"$JS.API.STREAM.SNAPSHOT.KV_CREDBUS_CREDENTIALS", false, false},
		{"$JS.API.DIRECT.GET.KV_CREDBUS_CREDENTIALS.$KV.CREDBUS_CREDENTIALS.org=acme.db", false, false},
		{"$JS.API.CONSUMER.CREATE.KV_CREDBUS_CREDENTIALS.spy", false, false},
		{"acme.cred.>", false, false},
		{"$JS.>", false, false},
		{">", false, false},
	}
	for _, test := range tests {
		t.Run(test.subject, func(t *testing.T) {
			if !strings.ContainsAny(test.subject, "*>") {
				nc, failures := connect(t, s.ClientContext())
				if err := nc.Publish(test.subject, nil); err != nil {
					t.Fatal(err)
				}
				if got := !refused(t, nc, failures); got != test.publish {
					t.Errorf("publish allowed: %v, want %v", got, test.publish)
				}
			}
			nc, failures := connect(t, s.ClientContext())
			if _, err := nc.SubscribeSync(test.subject); err != nil {
				t.Fatal(err)
			}
			if got := !refused(t, nc, failures); got != test.subscribe {
				t.Errorf("subscribe allowed: %v, want %v", got, test.subscribe)
			}
			nc, failures = connect(t, s.WorkerContext())
			if _, err := nc.SubscribeSync(test.subject); err != nil {
				t.Fatal(err)
			}
			if refused(t, nc, failures) {
				t.Error("the worker's user was refused")
			}
		})
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	s := start(t, natsd.Config{Dir: t.TempDir(), Port: natsd.RandomPort})
	for name, options := range map[string][]nats.Option{
		"no user":  nil,
		"guessed":  {nats.UserInfo("client", "client")},
		"as token": {nats.Token("worker")},
	} {
		if nc, err := nats.Connect(s.URL(), options...); err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
		}
	}
}

func TestRestartKeepsCredentialsAndStreams(t *testing.T) {
	dir := t.TempDir()
	first := start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort})
	nc, _ := connect(t, first.WorkerContext())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	before := readContext(t, first.ClientContext())
	nc.Close()
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal("second Close:", err)
	}

	second := start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort})
	after := readContext(t, second.ClientContext())
	if after["password"] != before["password"] {
		t.Error("the password changed")
	}
	if after["url"] != second.URL() {
		t.Errorf("url is %q, the server is at %q", after["url"], second.URL())
	}
	nc, _ = connect(t, second.WorkerContext())
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	message, err := stream.GetMsg(t.Context(), 1)
	if err != nil || string(message.Data) != "kept" {
		t.Errorf("message 1 is %v, %v", message, err)
	}
}

func readContext(t *testing.T, path string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]string
	if err := json.Unmarshal(content, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestFileModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes on Windows: the ACL of the directory decides")
	}
	dir := filepath.Join(t.TempDir(), "data", "credbus")
	s := start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort})
	nc, _ := connect(t, s.WorkerContext())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		dir:                               0o700,
		filepath.Join(dir, "jetstream"):   0o700,
		filepath.Join(dir, "client.json"): 0o600,
		filepath.Join(dir, "worker.json"): 0o600,
		filepath.Join(dir, "worker.lock"): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", path, got, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); left != nil {
		t.Error("temporary files are left:", left)
	}
}

func TestSecondProcessOnTheDirectory(t *testing.T) {
	dir := t.TempDir()
	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), helperDir+"="+dir)
	output, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			helper.Process.Kill() // SIGKILL: no handler of the helper runs
			helper.Wait()
		}
	}
	t.Cleanup(kill)
	url, err := bufio.NewReader(output).ReadString('\n')
	if err != nil || !strings.HasPrefix(url, "nats://") {
		t.Fatalf("helper: %q, %v", url, err)
	}

	_, err = natsd.Start(t.Context(), natsd.Config{Dir: dir, Port: natsd.RandomPort})
	wantError(t, err, "in use by another process", "--nats.context "+filepath.Join(dir, "worker.json"))

	kill()
	s := start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort})
	connect(t, s.ClientContext())
}

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error without %q: %v", part, err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	for b.Loop() {
		s, err := natsd.Start(b.Context(), natsd.Config{Dir: dir, Port: natsd.RandomPort, Logger: quiet})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
