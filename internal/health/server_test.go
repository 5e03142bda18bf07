package health

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

func start(t *testing.T, problems func(context.Context) []Problem) *Server {
	t.Helper()
	s, err := Start("127.0.0.1:0", problems, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func get(t *testing.T, s *Server, path string) (int, report) {
	t.Helper()
	response, err := http.Get("http://" + s.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var r report
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil && response.StatusCode < 400 {
		t.Fatal(err)
	}
	return response.StatusCode, r
}

func TestReady(t *testing.T) {
	var problems atomic.Pointer[[]Problem]
	problems.Store(new([]Problem))
	s := start(t, func(context.Context) []Problem { return append([]Problem(nil), *problems.Load()...) })
	expect := func(path string, wantStatus int, wantReady bool) report {
		t.Helper()
		status, r := get(t, s, path)
		if status != wantStatus || r.Ready != wantReady {
			t.Errorf("%s: %d, %+v", path, status, r)
		}
		return r
	}
	expect("/livez", http.StatusOK, true)
	expect("/readyz", http.StatusOK, true)

	before := time.Now().Add(-time.Second)
	known := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	problems.Store(&[]Problem{{Part: "nats", State: "reconnecting"}, {Part: "store", Name: "eu", State: "failing", Since: known, Error: "storage_timeout"}})
	first := expect("/readyz", http.StatusServiceUnavailable, false).Problems
	if len(first) != 2 || first[0].Since.Before(before) || first[1] != (*problems.Load())[1] {
		t.Fatalf("reported %+v", first)
	}
	expect("/livez", http.StatusOK, true)
	if again := expect("/readyz", http.StatusServiceUnavailable, false).Problems; again[0] != first[0] {
		t.Errorf("the same problem is reported as %+v, then %+v", first[0], again[0])
	}
	warning := Problem{Part: "store", Name: "eu", State: "failing", Since: known, Refuses: "writes", Warning: true}
	problems.Store(&[]Problem{warning})
	warning.Warning = false // JSON does not carry it
	if r := expect("/readyz", http.StatusOK, true); len(r.Problems) != 0 || len(r.Warnings) != 1 || r.Warnings[0] != warning {
		t.Errorf("a warning is reported as %+v", r)
	}
	problems.Store(new([]Problem))
	expect("/readyz", http.StatusOK, true)

	if status, _ := get(t, s, "/"); status != http.StatusNotFound {
		t.Errorf("/: %d", status)
	}
	response, err := http.Post("http://"+s.Address()+"/readyz", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", response.StatusCode)
	}
}

// A check that takes too long is cut off after a second.
func TestChecksAreBounded(t *testing.T) {
	s := start(t, func(ctx context.Context) []Problem {
		<-ctx.Done()
		return []Problem{{Part: "cache", State: "no lease"}}
	})
	if status, r := get(t, s, "/readyz"); status != http.StatusServiceUnavailable || len(r.Problems) != 1 {
		t.Errorf("%d, %+v", status, r)
	}
}

func TestAddressInUse(t *testing.T) {
	s := start(t, func(context.Context) []Problem { return nil })
	if _, err := Start(s.Address(), nil, quiet); err == nil || !strings.Contains(err.Error(), "health.listen: ") || !strings.Contains(err.Error(), "a port that is free") {
		t.Errorf("error is %v", err)
	}
}

// Connections above the limit wait until others end. Those that wait do not keep
// the server from closing.
func TestConnectionsAreBounded(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := limit(listener, 2)
	accepted := make(chan net.Conn)
	ended := make(chan error)
	go func() {
		for {
			conn, err := limited.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	for range 4 {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection was accepted, two are allowed")
	case <-time.After(50 * time.Millisecond): // there is no signal that nothing happens
	}
	first.Close()
	first.Close() // frees no second place
	third := <-accepted
	select {
	case <-accepted:
		t.Fatal("a fourth connection was accepted, two are allowed")
	case <-time.After(50 * time.Millisecond):
	}
	if err := limited.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	second.Close()
	third.Close()
}

// A client that sends nothing is dropped.
func TestSlowClient(t *testing.T) {
	s := start(t, func(context.Context) []Problem { return nil })
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /livez HTTP/1.1\r\nHost: ")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(2 * requestTimeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the client is not dropped: %v", err)
	}
}
