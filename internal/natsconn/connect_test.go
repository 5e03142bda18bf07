package natsconn_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/natsconn"
	"credbus/internal/testbed"
)

// limit is the longest that a test waits for anything.
const limit = 10 * time.Second

// secret is the password in tests that look for leaks.
const secret = "hunter2-secret"

func run(t *testing.T, options server.Options) *server.Server {
	t.Helper()
	options.Host, options.NoLog, options.NoSigs = "127.0.0.1", true, true
	if options.Port == 0 {
		options.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(limit) {
		t.Fatal("server is not ready")
	}
	return s
}

func connect(t *testing.T, config natsconn.Config) *nats.Conn {
	t.Helper()
	conn, err := natsconn.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// fails expects Connect to fail in time, with an error that contains each of want and
// shows no secret.
func fails(t *testing.T, config natsconn.Config, want ...string) {
	t.Helper()
	var err error
	testbed.Prompt(t, 2*time.Second, func() {
		var conn *nats.Conn
		if conn, err = natsconn.Connect(t.Context(), config); err == nil {
			conn.Close()
		}
	})
	if err == nil {
		t.Fatal("connected")
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error without %q: %v", part, err)
		}
	}
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		if strings.Contains(cause.Error(), "hunter2") {
			t.Errorf("error shows the password: %v", cause)
		}
	}
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// logBuffer is a logger whose lines a test can wait for.
type logBuffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func newLog() (*logBuffer, *slog.Logger) {
	b := &logBuffer{wrote: make(chan struct{}, 1)}
	return b, slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.wrote <- struct{}{}:
	default:
	}
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(limit)
	for !strings.Contains(b.String(), text) {
		select {
		case <-b.wrote:
		case <-deadline:
			t.Fatalf("the log has no %q:\n%s", text, b)
		}
	}
}

func TestCancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	// The server accepts, cancels our context, and never sends anything.
	mute := listen(t, func(net.Conn) { cancel() })
	if _, err := natsconn.Connect(ctx, natsconn.Config{URL: "nats://" + mute}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
}

func TestAddressErrors(t *testing.T) {
	closed := func() string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		return listener.Addr().String()
	}()
	// mute accepts and says nothing; web speaks another protocol.
	mute := listen(t, func(net.Conn) {})
	web := listen(t, func(c net.Conn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	s := run(t, server.Options{})

	t.Run("refused", func(t *testing.T) {
		fails(t, natsconn.Config{URL: "nats://user:" + secret + "@" + closed},
			"no server listens at nats://"+closed, "--nats.url (NATS_URL)")
	})
	t.Run("mute", func(t *testing.T) {
		fails(t, natsconn.Config{URL: "nats://" + mute}, "no answer from nats://"+mute, "--nats.url")
	})
	t.Run("not NATS", func(t *testing.T) {
		fails(t, natsconn.Config{URL: "nats://" + web}, "does not answer as a NATS server", "--nats.url")
	})
	t.Run("unknown host", func(t *testing.T) {
		fails(t, natsconn.Config{URL: "nats://no-such-host.invalid:4222"}, "no-such-host.invalid", "--nats.url")
	})
	t.Run("flag prefix", func(t *testing.T) {
		fails(t, natsconn.Config{URL: "nats://" + closed, Flags: natsconn.CommandLine}, "check --server (NATS_URL)")
	})
	for _, address := range []string{
		"nats://user:" + secret + "%zz@host",
		"nats://user:" + secret + "/x@host:4222",
		"nats://user:pa ss" + secret + "@host",
		"nats://user:x," + secret + "@host",
		"nats://user:" + secret + "@host:port",
		"nats://[" + secret + "@host",
	} {
		t.Run("malformed "+address, func(t *testing.T) {
			fails(t, natsconn.Config{URL: address}, "malformed", "--nats.url (NATS_URL)")
		})
	}
	t.Run("second address", func(t *testing.T) {
		conn := connect(t, natsconn.Config{URL: "nats://" + closed + ", " + s.ClientURL()})
		// A first address that drops packets must leave time for the second.
		if most := natsconn.ConnectTimeout / 2; conn.Opts.Dialer.Timeout > most {
			t.Errorf("one address may take %v of %v", conn.Opts.Dialer.Timeout, natsconn.ConnectTimeout)
		}
	})
}

func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			serve(conn)
		}
	}()
	return listener.Addr().String()
}

func TestSettingErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, test := range map[string]struct {
		config natsconn.Config
		want   []string
	}{
		"creds":              {natsconn.Config{Creds: missing}, []string{"--nats.creds (NATS_CREDS)", missing}},
		"nkey":               {natsconn.Config{NKey: missing}, []string{"--nats.nkey (NATS_NKEY)", missing}},
		"nkey content":       {natsconn.Config{NKey: writeFile(t, "seed", secret)}, []string{"--nats.nkey (NATS_NKEY)"}},
		"ca":                 {natsconn.Config{TLS: natsconn.TLS{CA: missing}}, []string{"--nats.tls.ca (NATS_CA)", missing}},
		"ca content":         {natsconn.Config{TLS: natsconn.TLS{CA: writeFile(t, "ca.pem", secret)}}, []string{"--nats.tls.ca (NATS_CA)"}},
		"cert without key":   {natsconn.Config{TLS: natsconn.TLS{Cert: missing}}, []string{"--nats.tls.cert", "--nats.tls.key"}},
		"password, no user":  {natsconn.Config{Password: secret}, []string{"without a user", "--nats.user (NATS_USER)"}},
		"context an address": {natsconn.Config{Context: "nats://u:" + secret + "@host"}, []string{"--nats.context", "--nats.url"}},
		"context unknown":    {natsconn.Config{Context: "no-such"}, []string{`no nats context "no-such"`, "--nats.context (NATS_CONTEXT)"}},
		"context file":       {natsconn.Config{Context: missing + ".json"}, []string{missing + ".json"}},
		"context damaged":    {natsconn.Config{Context: writeFile(t, "x.json", `{"password":"`+secret)}, []string{"x.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			fails(t, test.config, test.want...)
		})
	}
}

func TestReconnect(t *testing.T) {
	first := run(t, server.Options{})
	port := first.Addr().(*net.TCPAddr).Port
	buffer, logger := newLog()
	conn := connect(t, natsconn.Config{URL: "nats://user:" + secret + "@127.0.0.1:" + strconv.Itoa(port), Logger: logger})
	states := conn.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	waitFor := func(want nats.Status) {
		t.Helper()
		deadline := time.After(limit)
		for {
			select {
			case got := <-states:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("connection never became %v", want)
			}
		}
	}
	first.Shutdown()
	first.WaitForShutdown()
	waitFor(nats.RECONNECTING)
	if err := conn.Publish("subject", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publish while down: %v, want an error at once", err)
	}
	run(t, server.Options{Port: port})
	waitFor(nats.CONNECTED)
	buffer.waitFor(t, "connection lost")
	buffer.waitFor(t, "connection is back")
	if strings.Contains(buffer.String(), secret) {
		t.Errorf("the log shows the password:\n%s", buffer)
	}
}

// TestReconnectOutlivesRefusal makes a server forget the user for a while.
func TestReconnectOutlivesRefusal(t *testing.T) {
	users := []*server.User{{Username: "worker", Password: secret}}
	first := run(t, server.Options{Users: users})
	port := first.Addr().(*net.TCPAddr).Port
	buffer, logger := newLog()
	conn := connect(t, natsconn.Config{URL: first.ClientURL(), User: "worker", Password: secret, Logger: logger})
	first.Shutdown()
	first.WaitForShutdown()

	others := []*server.User{{Username: "other", Password: "other"}}
	second := run(t, server.Options{Port: port, Users: others})
	// By default nats.go gives up at the second refusal.
	deadline := time.After(limit)
	for strings.Count(strings.ToLower(buffer.String()), "authorization violation") < 3 {
		select {
		case <-buffer.wrote:
		case <-deadline:
			t.Fatalf("fewer than three refusals:\n%s", buffer)
		}
	}
	if conn.IsClosed() {
		t.Fatal("the connection was given up")
	}
	second.Shutdown()
	second.WaitForShutdown()
	run(t, server.Options{Port: port, Users: users})
	buffer.waitFor(t, "connection is back")
}

func TestAsyncErrorsAreLogged(t *testing.T) {
	s := run(t, server.Options{Users: []*server.User{{
		Username: "worker", Password: secret,
		Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"denied"}}},
	}}})
	buffer, logger := newLog()
	conn := connect(t, natsconn.Config{URL: s.ClientURL(), User: "worker", Password: secret, Name: "worker 1", Logger: logger})
	if conn.Opts.Name != "worker 1" {
		t.Errorf("name is %q", conn.Opts.Name)
	}
	if err := conn.Publish("denied", nil); err != nil {
		t.Fatal(err)
	}
	buffer.waitFor(t, "denied")

	release := make(chan struct{})
	defer close(release)
	sub, err := conn.Subscribe("slow", func(*nats.Msg) { <-release })
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(1, 1024); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := conn.Publish("slow", nil); err != nil {
			t.Fatal(err)
		}
	}
	buffer.waitFor(t, "too slow")
	buffer.waitFor(t, "subject=slow")
	buffer.waitFor(t, "dropped=")
}

func TestOptions(t *testing.T) {
	s := run(t, server.Options{})
	conn := connect(t, natsconn.Config{URL: s.ClientURL(), InboxPrefix: "_INBOX_acme"})
	if inbox := conn.NewInbox(); !strings.HasPrefix(inbox, "_INBOX_acme.") {
		t.Errorf("inbox is %q", inbox)
	}
	o := conn.Opts
	if o.ReconnectBufSize != -1 || o.PingInterval != 5*time.Second || o.MaxPingsOut != 2 || o.MaxReconnect != -1 {
		t.Errorf("options: buffer %d, ping %v, out %d, reconnects %d", o.ReconnectBufSize, o.PingInterval, o.MaxPingsOut, o.MaxReconnect)
	}
}
