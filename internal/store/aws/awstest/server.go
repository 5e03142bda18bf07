package awstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Region and Account contain the secrets.
const (
	Region  = "eu-central-1"
	Account = "123456789012"
)

// Server is a region of one account. It is an http.Handler.
type Server struct {
	// EmptyPages puts a page without secrets before each page of ListSecrets:
	// "This can occur even when the response includes no values at all".
	EmptyPages bool
	// BatchSize is how many values an answer of BatchGetSecretValue has; 0
	// means all of them.
	BatchSize int
	// Versions is how many versions a secret may have; 0 means any number.
	Versions int

	mu         sync.Mutex
	secrets    map[string]*secret // by name; a secret is replaced, never changed
	frozen     map[string]*secret // what reads show instead, if not nil
	frozenList map[string]*secret // what ListSecrets shows instead, if not nil
	made       int                // secrets made so far
	principals map[string]*principal
	roles      map[string]role
	faults     map[string]*faults
	calls      map[string]int
}

// New returns a server without any secret or principal.
func New() *Server {
	return &Server{
		secrets:    make(map[string]*secret),
		principals: make(map[string]*principal),
		roles:      make(map[string]role),
		faults:     make(map[string]*faults),
		calls:      make(map[string]int),
	}
}

// Calls returns how many requests for an action have begun.
func (s *Server) Calls(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

// Freeze makes every read return the current state until Thaw: "All Secrets
// Manager operations are eventually consistent".
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = maps.Clone(s.secrets)
}

// FreezeLists is Freeze for ListSecrets only: it "might not reflect changes from
// the last five minutes".
func (s *Server) FreezeLists() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozenList = maps.Clone(s.secrets)
}

// Thaw ends Freeze and FreezeLists.
func (s *Server) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen, s.frozenList = nil, nil
}

// Behind returns another handler of the server, on which every second read
// shows the state at the last call of catchUp: the service has copies, and the
// next one that gets a request may be behind. The test must send no other
// requests meanwhile.
func (s *Server) Behind() (way http.Handler, catchUp func()) {
	var (
		mu    sync.Mutex
		known = make(map[string]*secret)
		odd   bool
	)
	set := func(shown map[string]*secret) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.frozen = shown
	}
	way = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if odd = !odd; odd {
			set(known)
			defer set(nil)
		}
		s.ServeHTTP(w, r)
	})
	return way, func() {
		mu.Lock()
		defer mu.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		known = maps.Clone(s.secrets)
	}
}

// exception is an error of the service.
type exception struct {
	code, message string
}

func (e *exception) Error() string { return e.code + ": " + e.message }

func refuse(code, format string, args ...any) error {
	return &exception{code, fmt.Sprintf(format, args...)}
}

// call is one request, as an action sees it.
type call struct {
	*principal
	body []byte
}

func (c *call) decode(request any) error {
	if err := json.Unmarshal(c.body, request); err != nil {
		return refuse("SerializationException", "the body is not of this action")
	}
	return nil
}

// ServeHTTP implements http.Handler. It reads a request to its end before it
// answers, and sends the length of each answer, as AWS does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client left
	}
	action, json := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	form, _ := url.ParseQuery(string(body))
	if !json {
		action = form.Get("Action")
	}
	s.mu.Lock()
	s.calls[action]++
	s.mu.Unlock()

	fault, faulty := s.takeFault(action)
	if faulty && !fault.Applied {
		fault.Answer(w, r)
		return
	}
	var status int
	var answer []byte
	if json {
		status, answer = s.secretsManager(r, action, body)
	} else {
		status, answer = s.securityTokens(r, form)
	}
	if faulty {
		fault.Answer(w, r)
		return
	}
	contentType := "application/x-amz-json-1.1"
	if !json {
		contentType = "text/xml"
	}
	write(w, status, contentType, answer)
}

func write(w http.ResponseWriter, status int, contentType string, answer []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-Requestid", "00000000-0000-4000-8000-000000000000")
	w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// secretsManager answers a request of the JSON protocol.
func (s *Server) secretsManager(r *http.Request, action string, body []byte) (status int, answer []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	response, err := s.doLocked(r, action, body)
	if err != nil {
		refusal, ok := err.(*exception)
		if !ok {
			refusal = &exception{"InternalServiceError", err.Error()}
		}
		status = http.StatusBadRequest
		if refusal.code == "InternalServiceError" {
			status = http.StatusInternalServerError
		}
		return status, encode(map[string]string{"__type": refusal.code, "Message": refusal.message})
	}
	return http.StatusOK, encode(response)
}

func encode(v any) []byte {
	var buffer bytes.Buffer
	e := json.NewEncoder(&buffer)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return buffer.Bytes()
}

func (s *Server) doLocked(r *http.Request, action string, body []byte) (any, error) {
	who, err := s.signedByLocked(r, "secretsmanager")
	if err != nil {
		return nil, err
	}
	do, ok := map[string]func(*call) (any, error){
		"CreateSecret":        s.createSecretLocked,
		"UpdateSecret":        s.updateSecretLocked,
		"PutSecretValue":      s.putSecretValueLocked,
		"GetSecretValue":      s.getSecretValueLocked,
		"BatchGetSecretValue": s.batchGetSecretValueLocked,
		"DescribeSecret":      s.describeSecretLocked,
		"ListSecrets":         s.listSecretsLocked,
		"DeleteSecret":        s.deleteSecretLocked,
		"RestoreSecret":       s.restoreSecretLocked,

		"UpdateSecretVersionStage": s.updateSecretVersionStageLocked,
	}[action]
	if !ok {
		return nil, refuse("UnknownOperationException", "")
	}
	return do(&call{who, body})
}

// epoch is a time in the form of the protocol: seconds with a fraction.
func epoch(t time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	seconds := float64(t.UnixMilli()) / 1000
	return &seconds
}
