package testbed

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Wire is a connection to a server. A test can make it hold back what the server sends, for as
// long as it wants. Whatever clients send still reaches the server.
type Wire struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu    sync.Mutex
	open  chan struct{} // closed unless the wire is stalled
	conns []net.Conn
}

// NewWire returns a wire to the server at a TCP address. It ends with the test.
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

// Address is the address to which clients connect instead of the server's.
func (w *Wire) Address() string { return w.listener.Addr().String() }

// Stall holds back what the server sends from now on, until Resume.
func (w *Wire) Stall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = make(chan struct{})
}

// Resume delivers what was held back, and what comes after it.
func (w *Wire) Resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.open:
	default:
		close(w.open)
	}
}

// reader reads from c, but waits while the wire is stalled. A read under way still ends.
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
