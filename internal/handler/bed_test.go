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
	"credbus/internal/hybrid"
	"credbus/internal/manager"
	"credbus/internal/once"
	"credbus/internal/seal"
	"credbus/internal/sealkeys"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// requestTimeout is how long a test waits for a reply.
const requestTimeout = 10 * time.Second

// bed is a handler with a NATS server of its own, and a client.
type bed struct {
	*Handler
	client *nats.Conn
	cache  *cache.Cache
	log    *coherencetest.Log
	logged *logBuffer
}

func newBed(t testing.TB, s store.Store, change func(*Config)) *bed {
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
		MaintainerConfig: manager.MaintainerConfig{
			Stores: map[string]store.Store{"default": s, "other": memory.New()},
			Routed: func(subjects.Scope) []string { return []string{"default"} },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		Conn: connect(t, url), Manager: m, Replica: replica, Name: "this",
		Stats:      func() subjects.ReplicaStats { return subjects.ReplicaStats{} },
		ScopeStats: func(subjects.Scope) subjects.ScopeStats { return subjects.ScopeStats{} }, Logger: logger,
		Wire: Wire{Keys: newKeys(t), Messages: new(messages), Now: time.Now, Clear: AllowClear},
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

// keys are workers' keys, the last current. Some become known only by Refresh.
type keys struct {
	mu    sync.Mutex
	known []sealkeys.Key
	later []sealkeys.Key
}

func newKeys(t testing.TB) *keys { return &keys{known: []sealkeys.Key{newKey(t)}} }

func newKey(t testing.TB) sealkeys.Key {
	t.Helper()
	key, err := hybrid.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return sealkeys.Key{PrivateKey: key, ID: key.Public().ID()}
}

func (k *keys) Current() sealkeys.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known[len(k.known)-1]
}

func (k *keys) Key(id string) (sealkeys.Key, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.known {
		if key.ID == id {
			return key, true
		}
	}
	return sealkeys.Key{}, false
}

func (k *keys) Secret() [32]byte { return [32]byte{1} }

func (k *keys) Refresh(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known, k.later = append(k.known, k.later...), nil
	return nil
}

// messages are the messages that a handler has noted.
type messages struct {
	mu    sync.Mutex
	noted map[string]bool
}

func (m *messages) Note(_ context.Context, id string, sent time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case time.Since(sent) > once.Window:
		return once.ErrStale
	case m.noted[id]:
		return once.ErrCopy
	case m.noted == nil:
		m.noted = make(map[string]bool)
	}
	m.noted[id] = true
	return nil
}

func runServer(t testing.TB) (url string) {
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

func connect(t testing.TB, url string) *nats.Conn {
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

// refusal returns the error of a reply, nil if it has none.
func refusal(t testing.TB, msg *nats.Msg) *subjects.Error {
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

// logBuffer keeps log lines.
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
