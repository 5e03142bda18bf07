package coherence_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/coherence"
	"credbus/subjects"
)

const streamName = "CHANGES"

// streamBed is a real server with a stream.
type streamBed struct {
	options server.Options
	server  *server.Server
	admin   jetstream.JetStream
}

func newStreamBed(t *testing.T) *streamBed {
	b := &streamBed{options: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		MaxPending: 2 << 20, WriteDeadline: time.Second, // for a client that does not read what it is sent
	}}
	b.start(t)
	t.Cleanup(func() { b.server.Shutdown(); b.server.WaitForShutdown() })
	admin, err := jetstream.New(b.connect(t))
	if err != nil {
		t.Fatal(err)
	}
	b.admin = admin
	return b
}

func (b *streamBed) start(t *testing.T) {
	t.Helper()
	options := b.options
	s, err := server.NewServer(&options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	b.server, b.options.Port = s, options.Port
}

func (b *streamBed) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func (b *streamBed) open(t *testing.T) *coherence.Stream {
	t.Helper()
	s, err := coherence.OpenStream(t.Context(), b.connect(t), coherence.StreamConfig{
		Name: streamName, Prefix: subjects.DefaultPrefix, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *streamBed) stream(t *testing.T) jetstream.Stream {
	t.Helper()
	s, err := b.admin.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// callLog records the calls of a followed log, in order.
type callLog struct {
	mu    sync.Mutex
	steps []step
	grown chan struct{}
	// opened is the age of the log that was opened first.
	opened time.Duration
}

type step struct {
	what  string // open, deliver or acknowledged
	at    subjects.Revision
	entry subjects.Event
	text  string
}

// follow follows s from its end, as the replica of that name.
func follow(t *testing.T, s *coherence.Stream, name string) *callLog {
	f := &callLog{grown: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = s.Follow(ctx, name, subjects.Revision{}, 10*time.Second, f)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	f.until(t, "open", func(s step) bool { return s.what == "open" })
	return f
}

func (f *callLog) add(s step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, s)
	close(f.grown)
	f.grown = make(chan struct{})
}

func (f *callLog) Open(end subjects.Revision, age time.Duration) {
	f.mu.Lock()
	if f.opened == 0 {
		f.opened = age
	}
	f.mu.Unlock()
	f.add(step{what: "open", at: end})
}

func (f *callLog) Deliver(at subjects.Revision, entry *subjects.Event) {
	f.add(step{what: "deliver", at: at, entry: *entry})
}
func (f *callLog) Acknowledged(replica, write string) {
	f.add(step{what: "acknowledged", text: replica + " " + write})
}

// until waits for a step, and returns and forgets all steps up to it.
func (f *callLog) until(t *testing.T, what string, found func(step) bool) []step {
	t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		f.mu.Lock()
		i, grown := slices.IndexFunc(f.steps, found), f.grown
		if i >= 0 {
			before := f.steps[:i+1]
			f.steps = f.steps[i+1:]
			f.mu.Unlock()
			return before
		}
		f.mu.Unlock()
		select {
		case <-grown:
		case <-deadline:
			t.Fatalf("%s never happened; the steps were %+v", what, f.steps)
		}
	}
}

func (f *callLog) delivered(t *testing.T, at subjects.Revision) []step {
	t.Helper()
	return f.until(t, at.String(), func(s step) bool { return s.what == "deliver" && s.at == at })
}

// streamReplica is a replica on a stream. It may stop and run again.
type streamReplica struct {
	*coherence.Replica
	cache *cacheLog
	stop  func()
}

func newStreamReplica(t *testing.T, s *coherence.Stream, name string) *streamReplica {
	t.Helper()
	cache := &cacheLog{}
	r := &streamReplica{cache: cache, Replica: coherence.NewReplica(s, cache, coherence.Config{Name: name, Logger: slog.New(slog.DiscardHandler)})}
	r.run(t)
	return r
}

// run returns once the replica trusts its cache.
func (r *streamReplica) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	t.Cleanup(r.stop)
	r.trusts(t)
}

func (r *streamReplica) trusts(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := r.AwaitTrust(ctx); err != nil {
		t.Fatal(err)
	}
}

func (r *streamReplica) reaches(t *testing.T, at subjects.Revision) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := r.Await(ctx, at); err != nil {
		t.Fatalf("%s is never reached: %v", at, err)
	}
}

// outline lists what was dropped since the last call: IDs, and "all".
func (r *streamReplica) outline() string {
	var words []string
	for _, dropped := range r.cache.take() {
		words = append(words, dropped[strings.LastIndexByte(dropped, '/')+1:])
	}
	return strings.Join(words, " ")
}

func appendEntry(t *testing.T, s *coherence.Stream, kind subjects.EventKind, id string) subjects.Revision {
	t.Helper()
	at, err := s.Append(t.Context(), &subjects.Event{Kind: kind, Target: streamKey(id), WriteID: "write-" + id, Version: "v", At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func streamKey(id string) subjects.Target {
	return subjects.Target{Scope: "org:acme/team:eng", ID: subjects.ID(id)}
}
