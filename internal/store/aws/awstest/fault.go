package awstest

import "net/http"

// Fault is what happens to a request instead of its answer.
type Fault struct {
	Applied bool // the action still takes effect
	Answer  func(http.ResponseWriter, *http.Request)
}

type faults struct {
	fault Fault
	times int
}

// Fail makes a fault happen to the next requests for an action: to this many, or
// to all until Heal if times is negative.
func (s *Server) Fail(action string, times int, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[action] = &faults{fault, times}
}

// Heal ends all faults.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
}

func (s *Server) takeFault(action string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults[action]
	if f == nil || f.times == 0 {
		return Fault{}, false
	}
	f.times--
	return f.fault, true
}

// Refuse returns a fault that answers with an error of the service.
func Refuse(status int, code, message string) Fault {
	return Fault{Answer: func(w http.ResponseWriter, _ *http.Request) {
		write(w, status, "application/x-amz-json-1.1", encode(map[string]string{"__type": code, "Message": message}))
	}}
}

// Answer returns a fault that sends the given answer.
func Answer(status int, contentType, body string) Fault {
	return Fault{Answer: func(w http.ResponseWriter, _ *http.Request) { write(w, status, contentType, []byte(body)) }}
}

// Hang returns a fault that never answers.
func Hang() Fault {
	return Fault{Answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
}

// Cut returns a fault that closes the connection in the middle of an answer.
func Cut() Fault {
	return Fault{Answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"ARN": "arn:`))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}}
}

// Lost makes the action take effect, but replaces its answer.
func (f Fault) Lost() Fault {
	f.Applied = true
	return f
}
