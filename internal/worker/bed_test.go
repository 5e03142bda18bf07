package worker

import (
	"context"
	"io"
	"log/slog"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"credbus/internal/config"
	"credbus/subjects"
)

// bed is a worker with its own server, and a client of it.
type bed struct {
	*Worker
	client *nats.Conn
	logs   *logs
	seen   atomic.Pointer[subjects.Revision] // of the last put

	givenUp bool // Close has an error
}

// newBed starts a worker with settings such as "CREDBUS_STORE_TYPE=memory".
func newBed(t testing.TB, settings ...string) *bed {
	t.Helper()
	return startBed(t, t.TempDir(), settings...)
}

// startBed starts a worker on a data directory that may have content.
func startBed(t testing.TB, dir string, settings ...string) *bed {
	t.Helper()
	c, err := config.Load(nil, append([]string{"CREDBUS_DATA_DIR=" + dir}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	c.NATS.Port = -1 // any free one, which settings cannot ask for
	return runBed(t, c)
}

func runBed(t testing.TB, c *config.Config) *bed {
	t.Helper()
	b := &bed{logs: new(logs)}
	if c.Wire.Clear == "warn" {
		c.Wire.Clear = "allow" // the tests send in clear, and look for other warnings
	}
	w, err := Start(t.Context(), c, slog.New(slog.NewTextHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	b.Worker = w
	t.Cleanup(func() { b.stop(t) })
	if w.ClientContext() != "" {
		b.client = connect(t, w.ClientContext())
	}
	return b
}

// stop closes the worker, unless it is closed.
func (b *bed) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Close(ctx); (err != nil) != b.givenUp {
		t.Errorf("close: %v", err)
	}
}

func connect(t testing.TB, context string, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, _, err := natscontext.Connect(context, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// logs keeps what a worker logs.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

var _ io.Writer = (*logs)(nil)

func (l *logs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// requestTimeout bounds how long a test waits for a reply.
const requestTimeout = 20 * time.Second

// send sends a body and returns the raw reply.
func (b *bed) send(t testing.TB, subject string, body []byte) *nats.Msg {
	t.Helper()
	msg, err := b.client.Request(subject, body, requestTimeout)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return msg
}

// failed returns the error in a reply, or nil.
func failed(t testing.TB, msg *nats.Msg) *subjects.Error {
	t.Helper()
	if msg.Header.Get(subjects.HeaderErrorCode) == "" {
		return nil
	}
	told := new(subjects.Error)
	if err := subjects.Decode(msgpackOf(t, msg.Data), told); err != nil {
		t.Fatalf("error reply %q: %v", msg.Data, err)
	}
	if got := msg.Header.Get(subjects.HeaderErrorCode); got != told.Code.NumberText() {
		t.Fatalf("header says %s, body %s", got, told.Code)
	}
	return told
}

// msgpackOf returns a copy of a body, converted from JSON if necessary. It
// copies because Decode may work in place.
func msgpackOf(t testing.TB, body []byte) []byte {
	t.Helper()
	if !subjects.IsJSON(body) {
		return append([]byte(nil), body...)
	}
	transcoded, err := subjects.FromJSON(body)
	if err != nil {
		t.Fatalf("reply %q: %v", body, err)
	}
	return transcoded
}

// ask sends a command and decodes its reply into reply, or returns its error.
func (b *bed) ask(t testing.TB, command subjects.Command, scope subjects.Scope, request subjects.Message, reply subjects.Message) *subjects.Error {
	t.Helper()
	msg := b.send(t, subjects.DefaultPrefix.Command(command, scope), subjects.Append(nil, request))
	if told := failed(t, msg); told != nil {
		return told
	}
	if err := subjects.Decode(msg.Data, reply); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return nil
}

// must is ask for commands that must succeed.
func (b *bed) must(t testing.TB, command subjects.Command, scope subjects.Scope, request subjects.Message, reply subjects.Message) {
	t.Helper()
	if told := b.ask(t, command, scope, request, reply); told != nil {
		t.Fatalf("%s at %s: %v", command, scope, told)
	}
}

func (b *bed) put(t testing.TB, scope subjects.Scope, id subjects.ID, value string) *subjects.StoreReply {
	t.Helper()
	reply := new(subjects.StoreReply)
	b.must(t, subjects.Store, scope, &subjects.StoreRequest{StoreItem: item(id, value)}, reply)
	b.seen.Store(&reply.Revision)
	return reply
}

// get names the revision of the last put, as clients do: another worker may answer.
func (b *bed) get(t testing.TB, scope subjects.Scope, id subjects.ID) (string, *subjects.Error) {
	t.Helper()
	request, reply := retrieve(id), new(subjects.RetrieveReply)
	if seen := b.seen.Load(); seen != nil {
		request.Revision = *seen
	}
	if told := b.ask(t, subjects.Retrieve, scope, request, reply); told != nil {
		return "", told
	}
	return string(reply.Data[subjects.ValueName].Bytes()), nil
}

func item(id subjects.ID, value string) subjects.StoreItem {
	return subjects.StoreItem{Target: subjects.Target{ID: id}, Data: subjects.Value([]byte(value))}
}

func retrieve(id subjects.ID) *subjects.RetrieveRequest {
	return &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: id}}}
}

// wantCode fails the test unless told is an error of code.
func wantCode(t testing.TB, told *subjects.Error, code subjects.Code) {
	t.Helper()
	if told == nil || told.Code != code {
		t.Fatalf("got %v, want %s", told, code)
	}
}

// within runs f. If f does not end in time, it shows all goroutines.
func within(t testing.TB, limit time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(limit):
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 2) //nolint:errcheck // it is for the reader
		t.Fatalf("no end after %v", limit)
	}
}
