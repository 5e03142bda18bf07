package natsd_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"credbus/internal/natsd"
)

func TestTakenPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	_, err = natsd.Start(t.Context(), natsd.Config{Dir: dir, Port: port})
	wantError(t, err, listener.Addr().String()+" is taken", "--nats.port", "CREDBUS_NATS_PORT", "--nats.url nats://127.0.0.1:"+strconv.Itoa(port))

	// The failed start must have released its directory and port.
	start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort})
}

func TestErrors(t *testing.T) {
	corrupt := t.TempDir()
	write(t, filepath.Join(corrupt, "client.json"), `{"user":"client","password":"hunter2`, 0o600)
	partial := t.TempDir()
	write(t, filepath.Join(partial, "worker.json"), `{"user":"worker","password":""}`, 0o600)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "", 0o600)
	tests := []struct {
		name   string
		config natsd.Config
		want   []string
	}{
		{"no directory", natsd.Config{}, []string{"--data-dir"}},
		{"port", natsd.Config{Dir: t.TempDir(), Port: 70000}, []string{"70000", "--nats.port"}},
		{"payload", natsd.Config{Dir: t.TempDir(), MaxPayload: -1}, []string{"-1"}},
		{"host", natsd.Config{Dir: t.TempDir(), Host: "192.0.2.1", Port: natsd.RandomPort}, []string{"192.0.2.1", "--nats.host"}},
		{"a file", natsd.Config{Dir: file, Port: natsd.RandomPort}, []string{file, "--data-dir"}},
		{"corrupt context", natsd.Config{Dir: corrupt, Port: natsd.RandomPort}, []string{"client.json", "delete it"}},
		{"no password", natsd.Config{Dir: partial, Port: natsd.RandomPort}, []string{"worker.json", "delete it"}},
	}
	if runtime.GOOS != "windows" {
		readable := t.TempDir()
		write(t, filepath.Join(readable, "worker.json"), `{"user":"worker","password":"hunter2"}`, 0o640)
		writable := t.TempDir()
		if err := os.Chmod(writable, 0o777); err != nil {
			t.Fatal(err)
		}
		tests = append(tests, []struct {
			name   string
			config natsd.Config
			want   []string
		}{
			{"readable context", natsd.Config{Dir: readable, Port: natsd.RandomPort}, []string{"mode 0640", "chmod 600 " + filepath.Join(readable, "worker.json")}},
			{"writable directory", natsd.Config{Dir: writable, Port: natsd.RandomPort}, []string{"chmod 700 " + writable}},
		}...)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := natsd.Start(t.Context(), test.config)
			wantError(t, err, test.want...)
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error shows the password: %v", err)
			}
		})
	}
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := natsd.Start(ctx, natsd.Config{Dir: t.TempDir(), Port: natsd.RandomPort})
		wantError(t, err, context.Canceled.Error())
	})
}

// TestLogsHoldNoSecret makes the server log as much as it can, including refused and
// accepted connections.
func TestLogsHoldNoSecret(t *testing.T) {
	var log logBuffer
	s := start(t, natsd.Config{
		Dir: t.TempDir(), Port: natsd.RandomPort,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug - 4})),
	})
	client, failures := connect(t, s.ClientContext())
	if err := client.Publish("cred.v1.event.org:acme.db", []byte("payload-secret")); err != nil {
		t.Fatal(err)
	}
	if !refused(t, client, failures) {
		t.Fatal("event was not refused")
	}
	if _, err := nats.Connect(s.URL(), nats.UserInfo("worker", "wrong-secret")); err == nil {
		t.Fatal("connected with a wrong password")
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	for _, secret := range []string{
		readContext(t, s.ClientContext())["password"], readContext(t, s.WorkerContext())["password"],
		"payload-secret", "wrong-secret", "$2a$",
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
	for _, want := range []string{"Server is ready", "authentication error", "Publish Violation"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.Contains(text, "Plaintext passwords") {
		t.Error("the server holds plaintext passwords")
	}
}
