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

	"credbus/internal/lifecycle"
)

// Problem is something that keeps a worker from its work, or from some of it.
type Problem struct {
	Part  string `json:"part"`           // such as nats, cache or store
	Name  string `json:"name,omitempty"` // which one, of several
	State string `json:"state"`
	// Since is when it began or, if the part does not know that, when it was
	// first seen here.
	Since time.Time `json:"since"`
	Error string    `json:"error,omitempty"` // a code
	// Refuses says which calls a store refuses: reads, writes or all.
	Refuses string `json:"refuses,omitempty"`
	// Warning means that the worker stays ready, for the work that it still can do.
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
	requestTimeout = 5 * time.Second // to read a request, and to write its answer
	checkTimeout   = time.Second     // to find the problems
	maxHeader      = 8 << 10         // bytes
	maxConnections = 64
)

// Server answers until it is closed.
type Server struct {
	http    *http.Server
	address string
	serving sync.WaitGroup
	life    lifecycle.Part

	mu   sync.Mutex
	seen map[key]time.Time // when the current problems were first seen
}

// key identifies a problem.
type key struct{ part, name string }

// Start listens at address and answers with the result of problems. That function
// must return when its context ends, and is called concurrently.
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
	s.http.SetKeepAlivesEnabled(false) // no client occupies one of the few connections
	s.serving.Go(func() {
		if err := s.http.Serve(limit(listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("the health endpoint has stopped: restart the worker", "address", s.address, "error", err)
		}
	})
	return s, nil
}

// Address is the host:port that the server listens at.
func (s *Server) Address() string { return s.address }

// Close waits for answers under way until ctx ends.
func (s *Server) Close(ctx context.Context) error {
	return s.life.Close(ctx, func(ctx context.Context) error {
		err := s.http.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, s.http.Close())
		}
		s.serving.Wait()
		return err
	})
}

// since fills in when problems began, if they do not say so.
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
	_ = json.NewEncoder(w).Encode(r) // an error means that the client is gone
}
