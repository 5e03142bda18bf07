package handler

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// requestTimeout is how long a test waits for a reply.
const requestTimeout = 10 * time.Second

// bed is a handler that serves on a server of its own, and a client.
type bed struct {
	*Handler
	client *nats.Conn
	cache  *cache.Cache
	log    *coherencetest.Log
	logged *logBuffer
}

func newBed(t *testing.T, s store.Store, change func(*Config)) *bed {
	t.Helper()
	b := &bed{log: coherencetest.NewLog(), logged: new(logBuffer)}
	logger := slog.New(slog.NewTextHandler(b.logged, nil))
	url := runServer(t)
	c, err := cache.New(cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := seal.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	b.cache = c
	replica := coherence.NewReplica(b.log, c, coherence.Config{})
	following, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { replica.Run(following) })
	t.Cleanup(func() { stop(); ended.Wait(); c.Close() })
	m, err := manager.New(manager.Config{
		RecordsConfig: manager.RecordsConfig{Store: s, Keyring: keyring, Replica: replica, Logger: logger},
		ReaderConfig:  manager.ReaderConfig{Cache: c},
	})
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		Conn: connect(t, url), Manager: m, Replica: replica, Name: "this",
		Stats:      func() subjects.ReplicaStats { return subjects.ReplicaStats{} },
		ScopeStats: func(subjects.Scope) subjects.ScopeStats { return subjects.ScopeStats{} }, Logger: logger,
	}
	if change != nil {
		change(&config)
	}
	if b.Handler, err = New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := replica.AwaitTrust(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	b.client = connect(t, url)
	return b
}

func runServer(t *testing.T) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	return s.ClientURL()
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// ask sends a command at scope org:acme and returns the error of its reply.
func (b *bed) ask(t *testing.T, command subjects.Command, body string) *subjects.Error {
	t.Helper()
	msg, err := b.client.Request(subjects.DefaultPrefix.Command(command, "org:acme"), []byte(body), requestTimeout)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return refusal(t, msg)
}

// refusal is the error of a reply, nil when it has none.
func refusal(t *testing.T, msg *nats.Msg) *subjects.Error {
	t.Helper()
	if msg.Header.Get(subjects.HeaderErrorCode) == "" {
		return nil
	}
	body := msg.Data
	if subjects.IsJSON(body) {
		var err error
		if body, err = subjects.FromJSON(body); err != nil {
			t.Fatal(err)
		}
	}
	told := new(subjects.Error)
	if err := subjects.Decode(body, told); err != nil {
		t.Fatal(err)
	}
	return told
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
