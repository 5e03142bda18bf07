package vault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/policy"
	"credbus/internal/store/storetest"
	"credbus/internal/store/vault"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// calls are one call of each method, by name.
func calls(s store.Store) map[string]func(context.Context) error {
	rec := newRecord("org:acme", "key", "w9")
	return map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := s.Get(ctx, rec.Target); return err },
		"Put":    func(ctx context.Context) error { _, err := s.Put(ctx, rec, store.Precondition{}); return err },
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, rec.Target, store.Precondition{}) },
		"List": func(ctx context.Context) error {
			_, err := s.List(ctx, store.ListOptions{Limit: 10})
			return err
		},
	}
}

// Vault is a process of its own. It is paused, killed and started again.
func TestFaults(t *testing.T) {
	b := newBed(t, testbed.Start(t, "vault"))
	storetest.RunFaults(t, storetest.FaultHarness{
		Open: func(t *testing.T) store.Store {
			return policy.New(open(t, b.config(t)), policy.Config{Retries: 5, BreakerFailures: 10})
		},
		Pause:   func(t *testing.T) { b.Pause(t) },
		Resume:  func(t *testing.T) { b.Resume(t) },
		Kill:    func(*testing.T) { b.Kill() },
		Restart: func(t *testing.T) { b.Restart(t) },
	})
}

// Every unexpected answer must give an error of the right kind that shows no
// value.
func TestAnswers(t *testing.T) {
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.config(t)
	config.Address = p.URL
	s := open(t, config)
	put(t, s, newRecord("org:acme", "key", "w1"))
	said := func(text string) string { return `{"errors":["` + text + `"]}` }
	for _, test := range []struct {
		answer hook
		kind   error
		want   string
	}{
		{answers(429, said("request path rate limit quota exceeded")), store.ErrThrottled, "quota"},
		{answers(472, ""), store.ErrUnavailable, "disaster recovery"},
		{answers(473, ""), store.ErrUnavailable, "standby"},
		{answers(500, said("internal error")), store.ErrUnavailable, "status 500 internal error"},
		{answers(502, "<html>s3cret</html>"), store.ErrUnavailable, "status 502"},
		{answers(503, said("Vault is sealed")), store.ErrUnavailable, "vault operator unseal"},
		{answers(404, said(`no handler for route \"secret/data/x\". route entry not found.`)), store.ErrUnavailable, "the mount is gone: vault secrets enable -path=secret -version=2 kv (store.vault.mount)"},
		{answers(403, said("permission denied")), store.ErrPermission, "permission denied"},
		{answers(413, said("request body too large")), subjects.ErrTooLarge, "request body too large"},
		{answers(200, "hello s3cret"), store.ErrUnavailable, "not one of Vault"},
		{answers(200, `{"data":["s3cret"]}`), store.ErrUnavailable, "not one of Vault"},
		{answers(200, ""), store.ErrUnavailable, "not one of Vault"},
		{answers(404, "not JSON"), store.ErrUnavailable, "not one of Vault"},
		{cutOff, store.ErrUnavailable, "EOF"},
		{hungUp, store.ErrUnavailable, "EOF"},
		{answers(412, said("required index state not present")), store.ErrUnavailable, "has not caught up"},
	} {
		p.set(test.answer)
		for name, call := range calls(s) {
			err := call(t.Context())
			if says(t, err, test.kind, test.want, "Vault at "+p.URL+" (store.vault.address)", config.Path); err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: the error quotes the answer: %v", name, err)
			}
		}
	}
	p.set(answers(400, said("Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly.")))
	for _, call := range calls(s) {
		says(t, call(t.Context()), store.ErrUnavailable, "enabled a moment ago")
	}
	p.set(answers(400, said("something else")))
	for _, call := range calls(s) {
		err := call(t.Context())
		if says(t, err, nil, "status 400 something else"); errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrConflict) {
			t.Errorf("%v, want no error that is tried again", err)
		}
	}
	p.set(pass)
	if rec := get(t, s, newRecord("org:acme", "key", "").Target); rec.WriteID != "w1" {
		t.Errorf("after the wrong answers: %+v", rec)
	}
}

// cutOff closes the connection in the middle of an answer.
func cutOff(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, `{"data":{"data":`)
	panic(http.ErrAbortHandler)
}

// hungUp closes the connection without an answer.
func hungUp(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// A write whose answer is lost takes effect. The store recognises its repetition.
func TestAnswerIsLost(t *testing.T) {
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.config(t)
	config.Address = p.URL
	s := open(t, config)
	lose := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}
	p.set(lose)
	rec := newRecord("org:acme", "key", "w1")
	_, err := s.Put(t.Context(), rec, store.Precondition{Absent: true})
	says(t, err, store.ErrUnavailable)
	p.set(pass)
	first := get(t, s, rec.Target)
	if version, err := s.Put(t.Context(), rec, store.Precondition{Absent: true}); err != nil || version != first.Version {
		t.Errorf("the repeated write = %s, %v; want version %s", version, err, first.Version)
	}
	p.set(lose)
	says(t, s.Delete(t.Context(), rec.Target, store.Precondition{}), store.ErrUnavailable)
	p.set(pass)
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the repeated delete: %v", err)
	}
	for _, version := range b.versions(t, config.Path+"/org:acme/key")[:1] {
		if !version.Destroyed {
			t.Error("the value of the deleted version is not destroyed")
		}
	}
}

// A call that gets no answer ends with its context or with Close.
func TestHang(t *testing.T) {
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.config(t)
	config.Address = p.URL
	s := open(t, config)
	var hanging atomic.Int64
	p.set(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		hanging.Add(1)
		<-r.Context().Done()
	})
	for name, call := range calls(s) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrTimeout) {
			t.Errorf("%s: %v, want the context's error", name, err)
		}
		cancel()
	}
	before := hanging.Load()
	results := make(chan error)
	for _, call := range calls(s) {
		go func() { results <- call(context.Background()) }()
	}
	eventually(t, "all calls are under way", func() bool { return hanging.Load() == before+4 })
	must(t, s.Close(t.Context()))
	for range 4 {
		if err := <-results; !errors.Is(err, store.ErrClosed) {
			t.Errorf("a call under way while the store closes: %v", err)
		}
	}
}

// early answers a request before it has read the body.
type early struct{ body io.ReadCloser }

func (e *early) RoundTrip(r *http.Request) (*http.Response, error) {
	e.body = r.Body
	_, err := io.ReadFull(r.Body, make([]byte, 5))
	return &http.Response{StatusCode: http.StatusOK}, err
}

// The server may answer before it has the whole request, and then net/http goes on to
// send the body. It must not read the body while its values are wiped.
func TestBodyIsTakenBack(t *testing.T) {
	transport := new(early)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", strings.NewReader("begin and end"))
	before := r.Body
	_, err := vault.Lending(transport).RoundTrip(r)
	must(t, err)
	if r.Body != before {
		t.Error("the request was changed; a RoundTripper must not do that")
	}
	if n, err := transport.body.Read(make([]byte, 100)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("%d bytes were read, %v", n, err)
	}
}

// A standby may redirect requests to the active server instead of forwarding them.
func TestRedirect(t *testing.T) {
	b := sharedBed(t)
	standby := b.proxy(t)
	config := b.config(t)
	config.Address = standby.URL
	redirect := func(status int, to string) hook {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Location", to+r.URL.RequestURI())
			w.WriteHeader(status)
		}
	}
	standby.set(redirect(http.StatusTemporaryRedirect, b.Fact("address")))
	s := open(t, config)
	version := put(t, s, newRecord("org:acme", "key", "w1"))
	if rec := get(t, s, newRecord("org:acme", "key", "").Target); rec.Version != version {
		t.Errorf("read as %+v", rec)
	}
	works(t, s)
	// A redirect in a circle, or one that turns a write into a read, is an error.
	standby.set(redirect(http.StatusTemporaryRedirect, standby.URL))
	_, err := s.Put(t.Context(), newRecord("org:acme", "key", "w2"), store.Precondition{})
	says(t, err, store.ErrUnavailable)
	standby.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut {
			redirect(http.StatusFound, b.Fact("address"))(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	_, err = s.Put(t.Context(), newRecord("org:acme", "key", "w2"), store.Precondition{})
	says(t, err, store.ErrUnavailable)
}

// A standby of Vault Enterprise may serve reads. A read sends the index of the last
// write, so that its answer includes it.
func TestReadsFollowWrites(t *testing.T) {
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.config(t)
	config.Address = p.URL
	s := open(t, config)
	const state = "djE6Y2x1c3Rlcjo1OjA6c2lnbmF0dXJl" // v1:cluster:5:0:signature
	p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut {
			w.Header().Set("X-Vault-Index", state)
		}
		next.ServeHTTP(w, r)
	})
	put(t, s, newRecord("org:acme", "key", "w1"))
	var asked atomic.Bool
	p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		asked.Store(r.Header.Get("X-Vault-Index") == state)
		r.Header.Del("X-Vault-Index")
		next.ServeHTTP(w, r)
	})
	get(t, s, newRecord("org:acme", "key", "").Target)
	if !asked.Load() {
		t.Error("a read does not send the index of the write")
	}
}

func TestTooLarge(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	s := open(t, config)
	rec := newRecord("org:acme", "key", "w1")
	rec.Payload = make([]byte, 376<<10)
	_, err := s.Put(t.Context(), rec, store.Precondition{})
	says(t, err, subjects.ErrTooLarge, fmt.Sprint(376<<10))
	rec.Payload = make([]byte, 370<<10)
	put(t, s, rec)
}

func TestKeysAreChecked(t *testing.T) {
	b := sharedBed(t)
	s := open(t, b.config(t))
	for _, key := range []subjects.Target{
		{}, {Scope: "org:acme"}, {ID: "key"}, {Scope: "..", ID: "key"}, {Scope: "org:acme", ID: ".."}, {Scope: "org:acme/..", ID: "key"},
		{Scope: "org:acme", ID: "a/b"}, {Scope: "org:acme", ID: "a~"}, {Scope: "org:acme", ID: "a%2Fb"},
	} {
		_, getErr := s.Get(t.Context(), key)
		_, putErr := s.Put(t.Context(), &store.Record{Target: key, WriteID: "w"}, store.Precondition{})
		for _, err := range []error{getErr, putErr, s.Delete(t.Context(), key, store.Precondition{})} {
			if !errors.Is(err, subjects.ErrInvalid) {
				t.Errorf("key %q: %v, want ErrInvalid", key, err)
			}
		}
	}
}
