package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
)

func TestConnectErrors(t *testing.T) {
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for name, test := range map[string]struct {
		url  string
		cfg  client.Config
		want string
	}{
		"nothing listens":     {"nats://user:hunter2@127.0.0.1:1", client.Config{}, "connect to NATS at 127.0.0.1:1: "},
		"malformed URL":       {"nats://user:hunter2%zz@127.0.0.1:1", client.Config{}, "write nats://HOST:PORT"},
		"malformed port":      {"nats://user:hunter2:x@127.0.0.1:port", client.Config{}, "write nats://HOST:PORT"},
		"unknown context":     {"", client.Config{Context: "nowhere"}, `context "nowhere"`},
		"connection and URL":  {workerURL, client.Config{Conn: nc}, "leave out URL"},
		"malformed prefix":    {workerURL, client.Config{Prefix: "a..b"}, "empty token"},
		"negative timeout":    {workerURL, client.Config{Timeout: -1}, "above zero"},
		"wrong server option": {"nats://127.0.0.1:1", client.Config{NATSOptions: []nats.Option{nats.Timeout(time.Second)}}, "check the address"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.Connect(test.url, &test.cfg)
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error is %q, want %q in it and no password", err, test.want)
			}
		})
	}
}

func TestContextFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.json")
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"url": %q}`, workerURL), 0o600); err != nil {
		t.Fatal(err)
	}
	c, scope := connect(t, "", &client.Config{Context: path}), scopeOf(t)
	store(t, c, scope, "a", "1", nil)

	// A URL given in addition replaces that of the context.
	if err := os.WriteFile(path, []byte(`{"url": "nats://127.0.0.1:1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c = connect(t, workerURL, &client.Config{Context: path})
	store(t, c, scope, "a", "2", nil)

	if err := os.WriteFile(path, []byte(`{"url": "nats://user:hunter2%zz@127.0.0.1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := client.Connect("", &client.Config{Context: path})
	if err == nil {
		c.Close()
		t.Fatal("connected to a malformed URL")
	}
	if !strings.Contains(err.Error(), "malformed") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is %q", err)
	}
}

func TestGivenConnectionStaysOpen(t *testing.T) {
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c, err := client.Connect("", &client.Config{Conn: nc})
	if err != nil {
		t.Fatal(err)
	}
	store(t, c, scopeOf(t), "a", "1", nil)
	c.Close()
	if !nc.IsConnected() {
		t.Error("Close closed a connection that it was given")
	}
	if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestClose(t *testing.T) {
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	if _, err := c.Events(context.Background(), "org:a"); !errors.Is(err, client.ErrClosed) {
		t.Errorf("Events after Close: %v", err)
	}
	for _, err := range c.List(context.Background(), "org:a", nil) {
		if !errors.Is(err, client.ErrClosed) {
			t.Errorf("List after Close: %v", err)
		}
	}
}
