package coherence_test

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/coherence"
	"credbus/subjects"
)

// wire is a connection to a server that can stop bringing what the server sends.
type wire struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu    sync.Mutex
	open  chan struct{} // closed while it brings something
	conns []net.Conn
}

func newWire(t *testing.T, server string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, server: server, open: make(chan struct{})}
	close(w.open)
	w.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			w.running.Go(func() { w.join(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		w.resume()
		w.mu.Lock()
		for _, c := range w.conns {
			_ = c.Close()
		}
		w.mu.Unlock()
		w.running.Wait()
	})
	return w
}

func (w *wire) stall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = make(chan struct{})
}

func (w *wire) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.open:
	default:
		close(w.open)
	}
}

// reader lets no more through than what is under way when it is stalled.
func (w *wire) reader(c net.Conn) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		w.mu.Lock()
		open := w.open
		w.mu.Unlock()
		<-open
		return c.Read(p)
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func (w *wire) join(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	w.conns = append(w.conns, client, server)
	w.mu.Unlock()
	w.running.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
		_ = client.Close()
	})
	_, _ = io.Copy(client, w.reader(server))
}

// Slow-consumer drop: the server cuts the connection of a replica that does not
// take what it is sent. The replica serves nothing past its lease, and once it
// is back it applies what it missed before it trusts its cache.
func TestSlowConsumer(t *testing.T) {
	b := newStreamBed(t)
	writer := newStreamReplica(t, b.open(t), "writer")
	w := newWire(t, b.server.Addr().String())
	nc, err := nats.Connect("nats://"+w.listener.Addr().String(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	stream, err := coherence.OpenStream(t.Context(), nc, coherence.StreamConfig{
		Name: streamName, Prefix: subjects.DefaultPrefix, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	slow := newStreamReplica(t, stream, "slow")
	if _, err := nc.Subscribe("flood", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	before, ok := slow.Token(streamKey("db"), subjects.Revision{})
	if !ok {
		t.Fatal("no token")
	}
	slow.outline()

	w.stall()
	leaseEnds := time.After(lease)
	flood := b.connect(t)
	for sent := 0; b.server.NumSlowConsumers() == 0; sent++ {
		if sent == 512 {
			t.Fatalf("after %d MiB the server does not call the replica slow", sent)
		}
		if err := flood.Publish("flood", make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if err := flood.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	revision, _, err := writer.Write(t.Context(), streamKey("db"), "w1", stored)
	if err != nil {
		t.Fatal(err)
	}
	if mayHit(slow.Replica, revision) {
		t.Error("a replica that was cut off answers from its cache what is asked for with a revision that it missed")
	}
	<-leaseEnds
	if mayHit(slow.Replica, subjects.Revision{}) {
		t.Error("a replica that was cut off answers from its cache after its lease")
	}
	if _, ok := slow.Token(streamKey("db"), subjects.Revision{}); ok {
		t.Error("a replica that was cut off gives out a token after its lease")
	}
	w.resume()
	slow.trusts(t)
	if dropped := slow.outline(); !strings.Contains(dropped, "db") && !strings.Contains(dropped, "all") {
		t.Errorf("it trusts its cache again and dropped %q of what was written meanwhile", dropped)
	}
	if fills(replica{slow.Replica, slow.cache}, streamKey("db"), before) {
		t.Error("a token from before fills")
	}
	slow.reaches(t, revision)
}
