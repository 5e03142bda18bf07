package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Problem is something that keeps a worker from its work, or from some of it.
type Problem struct {
	Part  string `json:"part"`           // such as nats, cache or store
	Name  string `json:"name,omitempty"` // which one, of several
	State string `json:"state"`
	// Since is when it began. Of a part that does not know it is when it was
	// first seen here.
	Since time.Time `json:"since"`
	Error string    `json:"error,omitempty"` // a code
	// Refuses is which calls a store refuses: reads, writes or all.
	Refuses string `json:"refuses,omitempty"`
	// Warning: the worker is ready all the same, for what it still can do.
	Warning bool `json:"-"`
}

// report is the body of an answer.
type report struct {
	Ready    bool      `json:"ready"`
	Problems []Problem `json:"problems,omitempty"`
	Warnings []Problem `json:"warnings,omitempty"`
}

func newReport(found []Problem) (r report) {
	for _, p := range found {
		if p.Warning {
			r.Warnings = append(r.Warnings, p)
		} else {
			r.Problems = append(r.Problems, p)
		}
	}
	r.Ready = len(r.Problems) == 0
	return r
}

const (
	requestTimeout = 5 * time.Second // for all of a request, and for all of its answer
	checkTimeout   = time.Second     // for what the answer says
	maxHeader      = 8 << 10         // bytes
	maxConnections = 64
)

// Server answers until it is closed.
type Server struct {
	http    *http.Server
	address string

	mu   sync.Mutex
	seen map[key]time.Time // when problems of now were first seen
}

// key tells problems apart.
type key struct{ part, name string }

// Start listens at address and answers with what problems returns, which is to
// end with its context and may be called concurrently.
func Start(address string, problems func(context.Context) []Problem, logger *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("health.listen: %w: choose an address of this host and a port that is free", err)
	}
	s := &Server{address: listener.Addr().String(), seen: make(map[key]time.Time)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { write(w, report{Ready: true}) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		write(w, newReport(s.since(problems(ctx))))
	})
	s.http = &http.Server{
		Handler:     http.MaxBytesHandler(mux, 0),
		ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	s.http.SetKeepAlivesEnabled(false) // nobody keeps one of the connections that there are
	go func() {
		if err := s.http.Serve(limit(listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("health is not told any more", "address", s.address, "error", err)
		}
	}()
	return s, nil
}

// Address is host:port that it listens at.
func (s *Server) Address() string { return s.address }

// Close lets the answers under way end, while ctx allows.
func (s *Server) Close(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// since fills in when problems began that do not tell.
func (s *Server) since(problems []Problem) []Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[key]time.Time, len(problems))
	for i := range problems {
		p := &problems[i]
		if p.Since.IsZero() {
			p.Since = s.seen[key{p.Part, p.Name}]
		}
		if p.Since.IsZero() {
			p.Since = time.Now().UTC().Truncate(time.Millisecond)
		}
		seen[key{p.Part, p.Name}] = p.Since
	}
	s.seen = seen
	return problems
}

func write(w http.ResponseWriter, r report) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !r.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(r) // who asked is gone
}
