package vault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
	"credbus/internal/store/vault"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// bed is a real Vault, and a client of it that may do everything.
type bed struct {
	*testbed.Server
	root *api.Client
}

func sharedBed(t testing.TB) *bed {
	t.Helper()
	return newBed(t, testbed.Shared(t, "vault"))
}

func newBed(t testing.TB, server *testbed.Server) *bed {
	t.Helper()
	b := &bed{Server: server}
	b.root = b.client(t, server.Fact("token"))
	return b
}

// client returns a client of the SDK, such as other programs use.
func (b *bed) client(t testing.TB, token string) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	config.Address = b.Fact("address")
	client, err := api.NewClient(config)
	must(t, err)
	client.SetToken(token)
	return client
}

func (b *bed) write(t testing.TB, path string, data map[string]any) *api.Secret {
	t.Helper()
	answer, err := b.root.Logical().WriteWithContext(context.Background(), path, data)
	must(t, err)
	return answer
}

// kv is the engine that tests use.
func (b *bed) kv() *api.KVv2 { return b.root.KVv2("secret") }

// policy makes the policy of deploy/vault for a path, with replacements, and returns
// its name.
func (b *bed) policy(t testing.TB, path string, changes ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/vault/policy.hcl")
	must(t, err)
	policy := strings.ReplaceAll(string(text), "/credbus/*", "/"+path+"/*")
	if changes != nil {
		changed := strings.NewReplacer(changes...).Replace(policy)
		if changed == policy {
			t.Fatalf("the policy does not contain %q", changes)
		}
		policy = changed
	}
	name := unique("policy")
	must(t, b.root.Sys().PutPolicyWithContext(context.Background(), name, policy))
	return name
}

// token makes a token that has only the policies of the request.
func (b *bed) token(t testing.TB, request api.TokenCreateRequest) *api.SecretAuth {
	t.Helper()
	request.NoDefaultPolicy = true
	answer, err := b.root.Auth().Token().CreateWithContext(context.Background(), &request)
	must(t, err)
	return answer.Auth
}

// config returns the configuration of a store on a path of its own, with the least
// permissions.
func (b *bed) config(t testing.TB) vault.Config {
	t.Helper()
	path := unique("store")
	return vault.Config{
		Address: b.Fact("address"),
		Path:    path,
		Token:   b.token(t, api.TokenCreateRequest{Policies: []string{b.policy(t, path)}}).ClientToken,
		Logger:  slog.New(slog.DiscardHandler),
	}
}

func open(t testing.TB, config vault.Config) *vault.Store {
	t.Helper()
	s, err := vault.New(context.Background(), config)
	must(t, err)
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

var names atomic.Int64

// unique returns a name that no other test uses.
func unique(what string) string { return fmt.Sprintf("%s-%d", what, names.Add(1)) }

func newRecord(scope, id, writeID string) *store.Record {
	return &store.Record{
		Target:  subjects.Target{Scope: subjects.Scope(scope), ID: subjects.ID(id)},
		WriteID: writeID,
		Payload: []byte("sealed by " + writeID),
	}
}

// newNative is newRecord with values in clear.
func newNative(scope, id, writeID string) *store.Record {
	rec := newRecord(scope, id, writeID)
	rec.Payload, rec.Data = nil, subjects.Value([]byte("s3cret of "+writeID))
	return rec
}

func put(t testing.TB, s store.Store, rec *store.Record) (version string) {
	t.Helper()
	version, err := s.Put(context.Background(), rec, store.Precondition{})
	must(t, err)
	return version
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// log collects the log of a store.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// proxy is a proxy of Vault whose behaviour a test sets.
type proxy struct {
	URL  string
	hook atomic.Pointer[hook]
}

// hook answers a request, or passes it to next.
type hook func(w http.ResponseWriter, r *http.Request, next http.Handler)

func (b *bed) proxy(t testing.TB) *proxy {
	t.Helper()
	p := new(proxy)
	server := httptest.NewServer(p.handler(t, b))
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

func (p *proxy) handler(t testing.TB, b *bed) http.Handler {
	t.Helper()
	target, err := url.Parse(b.Fact("address"))
	must(t, err)
	next := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: stdlog.New(io.Discard, "", 0),
	}
	p.set(pass)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*p.hook.Load())(w, r, next) })
}

func (p *proxy) set(h hook) { p.hook.Store(&h) }

func pass(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }

// answers returns a hook that sends the same answer to every request.
func answers(status int, body string) hook {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// eventually waits until the condition holds, at most 30 s, because the machine may be
// busy.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 seconds: %s", what)
		}
	}
}

// says fails unless err is of the kind and contains every part.
func says(t testing.TB, err, kind error, parts ...string) {
	t.Helper()
	if err == nil || kind != nil && !errors.Is(err, kind) {
		t.Errorf("%v, want %v", err, kind)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v, want %q", err, part)
		}
	}
}
