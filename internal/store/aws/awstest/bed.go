package awstest

import (
	"net"
	"net/http"
	"sync"
	"testing"
)

// Bed serves a handler on a fixed port. It can be paused, killed and restarted,
// like a process that keeps its state.
type Bed struct {
	handler http.Handler
	address string

	mu     sync.Mutex
	server *http.Server
	open   chan struct{} // closed while requests go through
}

// NewBed serves handler until the test ends.
func NewBed(t testing.TB, handler http.Handler) *Bed {
	t.Helper()
	b := &Bed{handler: handler, address: "127.0.0.1:0", open: make(chan struct{})}
	close(b.open)
	b.Restart(t)
	t.Cleanup(func() {
		b.Resume()
		b.Kill()
	})
	return b
}

// URL returns the address of the server.
func (b *Bed) URL() string { return "http://" + b.address }

// Pause holds every request and connection until Resume.
func (b *Bed) Pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = make(chan struct{})
}

// Resume ends Pause. A request that was sent completely takes effect
// even if its client no longer waits.
func (b *Bed) Resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.open:
	default:
		close(b.open)
	}
}

func (b *Bed) gate() chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// Kill closes the port and all connections.
func (b *Bed) Kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.server.Close()
}

// Restart opens the port again.
func (b *Bed) Restart(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	listener, err := net.Listen("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	b.address = listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-b.gate()
		b.handler.ServeHTTP(w, r)
	})}
	b.server = server
	go func() { _ = server.Serve(listener) }()
}
