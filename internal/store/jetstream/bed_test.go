package jetstream_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"credbus/internal/store"
	"credbus/internal/store/jetstream"
	"credbus/subjects"
)

// bed is a real server with JetStream.
type bed struct {
	options server.Options
	server  *server.Server
	buckets atomic.Int32
}

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{options: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
	}}
	b.start(t)
	t.Cleanup(func() { b.stop() })
	return b
}

// start runs the server. A later call uses the port of the first one.
func (b *bed) start(t testing.TB) {
	t.Helper()
	options := b.options
	s, err := server.NewServer(&options)
	if err != nil {
		t.Fatal(err)
	}
	b.server = s
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	b.options.Port = options.Port
}

func (b *bed) stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

func (b *bed) connect(t testing.TB, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.server.ClientURL(), append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// bucket returns a name that no other test uses.
func (b *bed) bucket() string { return fmt.Sprintf("bucket-%d", b.buckets.Add(1)) }

func (b *bed) open(t testing.TB, bucket string) *jetstream.Store {
	t.Helper()
	s, err := jetstream.New(t.Context(), b.connect(t), jetstream.Config{Bucket: bucket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// stream returns the stream of a bucket, as an operator sees it.
func (b *bed) stream(t testing.TB, bucket string) natsjs.Stream {
	t.Helper()
	stream, err := b.admin(t).Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func (b *bed) admin(t testing.TB) natsjs.JetStream {
	t.Helper()
	js, err := natsjs.New(b.connect(t))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func (b *bed) keyValue(t testing.TB, bucket string) natsjs.KeyValue {
	t.Helper()
	kv, err := b.admin(t).KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func newRecord(scope, id, writeID string) *store.Record {
	return &store.Record{
		Target:  subjects.Target{Scope: subjects.Scope(scope), ID: subjects.ID(id)},
		WriteID: writeID,
		Payload: []byte("sealed by " + writeID),
	}
}

func put(t testing.TB, s store.Store, rec *store.Record) (version string) {
	t.Helper()
	version, err := s.Put(context.Background(), rec, store.Precondition{})
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
