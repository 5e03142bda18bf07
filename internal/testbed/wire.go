package testbed

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Wire is a way to a server that can stop bringing what the server sends, for as long as a
// test wants. What is sent to the server always arrives.
type Wire struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu    sync.Mutex
	open  chan struct{} // closed while it brings something
	conns []net.Conn
}

// NewWire returns a way to the server at a TCP address, which ends with the test.
func NewWire(t testing.TB, server string) *Wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{listener: listener, server: server, open: make(chan struct{})}
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
		w.Resume()
		w.mu.Lock()
		for _, c := range w.conns {
			_ = c.Close()
		}
		w.mu.Unlock()
		w.running.Wait()
	})
	return w
}

// Address is what clients connect to instead of the server.
func (w *Wire) Address() string { return w.listener.Addr().String() }

// Stall brings nothing more, but for what is under way, until Resume.
func (w *Wire) Stall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = make(chan struct{})
}

// Resume brings what was held up, and what comes after it.
func (w *Wire) Resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.open:
	default:
		close(w.open)
	}
}

// reader lets no more through than what is under way when it is stalled.
func (w *Wire) reader(c net.Conn) io.Reader {
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

func (w *Wire) join(client net.Conn) {
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
