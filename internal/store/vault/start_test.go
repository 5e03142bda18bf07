package vault_test

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
	"credbus/internal/store/vault"
	"credbus/internal/testbed"
)

// refused fails unless New refuses a configuration within 2 s, with an error of the
// kind that contains every part and no secret.
func refused(t *testing.T, config vault.Config, kind error, parts ...string) {
	t.Helper()
	config.Logger = slog.New(slog.DiscardHandler)
	var err error
	testbed.Prompt(t, 2*time.Second, func() {
		var s *vault.Store
		if s, err = vault.New(context.Background(), config); err == nil {
			s.Close(t.Context())
		}
	})
	says(t, err, kind, parts...)
	for _, secret := range []string{config.Token, config.SecretID} {
		if err != nil && secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	const address = "http://127.0.0.1:1"
	for want, config := range map[string]vault.Config{
		"store.vault.address is not set":      {Token: "hvs.given"},
		"store.vault.address is no":           {Address: "vault:8200", Token: "hvs.given"},
		"store.vault.address is not the addr": {Address: "ftp://vault:8200", Token: "hvs.given"},
		"write https://host:port":             {Address: "https://user:pass@vault:8200", Token: "hvs.given"},
		"store.vault.mount":                   {Address: address, Token: "hvs.given", Mount: "/secret"},
		"store.vault.path":                    {Address: address, Token: "hvs.given", Path: "../sys"},
		`"a/+/b"`:                             {Address: address, Token: "hvs.given", Path: "a/+/b"},
		"store.vault.auth_mount":              {Address: address, Token: "hvs.given", AuthMount: "a//b"},
		"store.vault.token and":               {Address: address},
		"store.vault.token_file":              {Address: address, Token: "hvs.given", TokenFile: "f"},
		"store.vault.role_id":                 {Address: address, Auth: "approle"},
		"store.vault.secret_id_file":          {Address: address, Auth: "approle", RoleID: "r", SecretID: "given-id", SecretIDFile: "f"},
		"store.vault.role is not set":         {Address: address, Auth: "kubernetes"},
		`store.vault.auth is "ldap"`:          {Address: address, Auth: "ldap"},
		"store.vault.ca":                      {Address: address, Token: "hvs.given", CA: "start_test.go"},
		"store.vault.ca: open /not/there":     {Address: address, Token: "hvs.given", CA: "/not/there"},
	} {
		refused(t, config, nil, want)
	}
}

func TestServerIsChecked(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	must(t, err)
	defer silent.Close()
	fake := func(status int, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers(status, body)(w, r, nil) }))
		t.Cleanup(server.Close)
		return server.URL
	}
	for _, test := range []struct {
		address string
		kind    error
		want    string
	}{
		{"http://127.0.0.1:1", store.ErrUnavailable, "cannot be reached: connection refused"},
		{"https://no-such-host.invalid", nil, "Vault at https://no-such-host.invalid (store.vault.address)"},
		{"http://" + silent.Addr().String(), store.ErrTimeout, "does not answer"},
		{fake(200, "<html>hello"), store.ErrUnavailable, "cannot be reached"},
		{fake(200, "{}"), store.ErrUnavailable, "is not initialized: vault operator init"},
		{fake(299, `{"initialized":true,"sealed":true}`), store.ErrUnavailable, "is sealed: vault operator unseal"},
		{fake(299, `{"initialized":true,"replication_dr_mode":"secondary"}`), store.ErrUnavailable, "disaster recovery"},
		{fake(404, "nothing here"), store.ErrUnavailable, "not one of Vault"},
		{fake(400, "Client sent an HTTP request to an HTTPS server."), store.ErrUnavailable, "http instead of https"},
		{fake(404, `{"errors":["no handler for route \"v1/auth/token/lookup-self\""]}`), store.ErrUnavailable, "without /v1"},
		{fake(302, "elsewhere"), nil, "(store.vault.address)"},
	} {
		refused(t, vault.Config{Address: test.address, Token: "hvs.some-token"}, test.kind, test.want, "store.vault.address")
	}

	// A caller that gives up gets its context's error, not "Vault is slow".
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := vault.New(ctx, vault.Config{Address: "http://" + silent.Addr().String(), Token: "hvs.given"}); err != nil {
		says(t, err, context.DeadlineExceeded)
	} else {
		t.Error("New accepts a silent server")
	}
}

func TestSealed(t *testing.T) {
	b := newBed(t, testbed.Start(t, "vault"))
	config := b.config(t)
	s := open(t, config)
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	must(t, b.root.Sys().SealWithContext(t.Context()))
	refused(t, config, store.ErrUnavailable, "is sealed: vault operator unseal")
	for name, call := range calls(s) {
		if err := call(t.Context()); err == nil {
			t.Errorf("%s of a sealed Vault succeeds", name)
		} else {
			says(t, err, store.ErrUnavailable, "sealed", "store.vault.address")
		}
	}
	b.Restart(t) // unseals it
	if got := get(t, s, rec.Target); got.WriteID != "w1" {
		t.Errorf("after it was unsealed: %+v", got)
	}
}

func TestMountIsChecked(t *testing.T) {
	b := sharedBed(t)
	one := unique("one")
	b.write(t, "sys/mounts/"+one, map[string]any{"type": "kv"})
	config := b.config(t)
	config.Token = b.Fact("token")
	for mount, want := range map[string]string{
		"missing":       "vault secrets enable -path=missing -version=2 kv",
		one:             one + " is KV version 1",
		"transit":       "transit is a mount of type transit, not kv",
		"secret/deeper": "secret/deeper is a path in the mount secret/",
	} {
		config.Mount = mount
		refused(t, config, nil, want, "store.vault.mount")
	}
	deep := unique("team") + "/kv"
	b.write(t, "sys/mounts/"+deep, map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	config.Mount, config.Path = deep, "apps/credbus"
	s := open(t, config)
	rec := newNative("org:acme", "key", "w1")
	rec.Payload = []byte("sealed")
	eventually(t, "the new mount can be written to", func() bool { _, err := s.Put(t.Context(), rec, store.Precondition{}); return err == nil })
	if _, err := b.root.KVv2(deep).Get(t.Context(), "apps/credbus/org:acme/key"); err != nil {
		t.Errorf("in a mount with another name: %v", err)
	}
}

// The error of New must name what the policy lacks.
func TestCapabilitiesAreChecked(t *testing.T) {
	b := sharedBed(t)
	path := unique("lacking")
	at := func(part string) string { return "secret/" + part + "/" + path + "/*" }
	for change, want := range map[[2]string]string{
		{`["create", "read", "update"]`, `["read"]`}:           "must allow create, update on " + at("data"),
		{`["create", "read", "update"]`, `["create"]`}:         "must allow read, update on " + at("data"),
		{`["list", "read", "delete"]`, `["list"]`}:             "must allow read, delete on " + at("metadata"),
		{`["list", "read", "delete"]`, `["read", "delete"]`}:   "must allow list on " + at("metadata"),
		{"secret/destroy/", "secret/elsewhere/"}:               "must allow update on " + at("destroy"),
		{"secret/", "elsewhere/"}:                              "allow create, read, update on " + at("data"),
		{"secret/data/" + path + "/*", "secret/data/" + path}:  "must allow create, read, update on " + at("data"),
		{`path "auth/token/lookup-self"`, `path "auth/token"`}: "store.vault.token: Vault does not know the token, or the token has expired: give another. Or its policy does not allow read on auth/token/lookup-self",
		{`path "auth/token/renew-self"`, `path "auth/token"`}:  "must allow update on auth/token/renew-self",
		{`path "sys/capabilities-self"`, `path "sys"`}:         "must allow update on sys/capabilities-self",
	} {
		token := b.token(t, api.TokenCreateRequest{Policies: []string{b.policy(t, path, change[:]...)}}).ClientToken
		refused(t, vault.Config{Address: b.Fact("address"), Path: path, Token: token}, store.ErrPermission, want, "store.vault.")
	}
}

// A call that lacks a permission must name it.
func TestPermissionDenied(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	s := open(t, config)
	put(t, s, newRecord("org:acme", "key", "w1"))
	name := b.policies(t, config.Token)[0]
	must(t, b.root.Sys().PutPolicyWithContext(t.Context(), name, `
		path "auth/token/lookup-self" { capabilities = ["read"] }
		path "secret/data/`+config.Path+`/org:acme/key" { capabilities = ["read"] }`))
	data, metadata := "secret/data/"+config.Path+"/*", "secret/metadata/"+config.Path+"/*"
	all := calls(s)
	must(t, all["Get"](t.Context()))
	for call, want := range map[string]string{
		"Put": "must allow create and update on " + data, "Delete": "must allow create and update on " + data, "List": "must allow list on " + metadata,
	} {
		says(t, all[call](t.Context()), store.ErrPermission, want, "permission denied")
	}
	must(t, b.root.Sys().DeletePolicyWithContext(t.Context(), name))
	says(t, all["Get"](t.Context()), store.ErrPermission)
}

// policies returns the policies of a token.
func (b *bed) policies(t testing.TB, token string) []string {
	t.Helper()
	found, err := b.root.Auth().Token().LookupWithContext(context.Background(), token)
	must(t, err)
	policies, err := found.TokenPolicies()
	must(t, err)
	return policies
}

// The certificate of the server is checked against the configured authority.
func TestCA(t *testing.T) {
	b := sharedBed(t)
	server := httptest.NewUnstartedServer(new(proxy).handler(t, b))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	defer server.Close()
	config := b.config(t)
	config.Address = server.URL
	refused(t, config, store.ErrUnavailable, "cannot be reached", "certificate")
	config.CA = filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(config.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	s := open(t, config)
	put(t, s, newRecord("org:acme", "key", "w1"))
}

// Every request names the namespace, except one for the health of the server, and one
// for a namespace that does not exist, which a server with namespaces refuses.
func TestNamespace(t *testing.T) {
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.config(t)
	config.Address, config.Namespace = p.URL, "teams/payments"
	refused(t, config, nil, "store.vault.namespace", "ignores namespaces", "store.vault.path") // like this Vault
	var within, without, nowhere atomic.Int64
	p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch namespace := r.Header.Get("X-Vault-Namespace"); {
		case strings.TrimSuffix(namespace, "/") == config.Namespace:
			within.Add(1)
		case namespace == "" && r.URL.Path == "/v1/sys/health":
			without.Add(1)
		case strings.HasPrefix(namespace, "credbus-") && strings.HasPrefix(r.URL.Path, "/v1/sys/internal/ui/mounts/"):
			nowhere.Add(1)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"errors":["permission denied"]}`)
			return
		default:
			t.Errorf("%s %s names the namespace %q", r.Method, r.URL.Path, namespace)
		}
		r.Header.Del("X-Vault-Namespace") // this Vault has none
		next.ServeHTTP(w, r)
	})
	s := open(t, config)
	for name, call := range calls(s) {
		if err := call(t.Context()); err != nil && name != "Delete" && name != "Get" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if within.Load() < 7 || without.Load() != 1 || nowhere.Load() != 1 {
		t.Errorf("%d requests named the namespace, %d none, %d a missing one", within.Load(), without.Load(), nowhere.Load())
	}
}

// The store does not read the VAULT_ variables. Only the worker's configuration does.
func TestEnvironmentIsNotRead(t *testing.T) {
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.config(t)
	config.Address = p.URL
	for name, value := range map[string]string{
		"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AGENT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "hvs.wrong", "VAULT_NAMESPACE": "wrong",
		"VAULT_WRAP_TTL": "60s", "VAULT_HEADERS": `{"X-Wrong":"wrong"}`, "VAULT_MAX_RETRIES": "9", "VAULT_CLIENT_TIMEOUT": "1ms", "VAULT_RATE_LIMIT": "0.001:1",
		"VAULT_SKIP_VERIFY": "true",
	} {
		t.Setenv(name, value)
	}
	p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		for _, name := range []string{"X-Vault-Namespace", "X-Vault-Wrap-Ttl", "X-Wrong"} {
			if value := r.Header.Get(name); value != "" {
				t.Errorf("%s %s has %s: %s", r.Method, r.URL.Path, name, value)
			}
		}
		if token := r.Header.Get("X-Vault-Token"); token != config.Token && token != "" {
			t.Errorf("%s %s has another token", r.Method, r.URL.Path)
		}
		next.ServeHTTP(w, r)
	})
	put(t, open(t, config), newRecord("org:acme", "key", "w1"))

	// The SDK reads them first, so an invalid one is an error.
	t.Setenv("VAULT_CLIENT_TIMEOUT", "soon")
	refused(t, config, nil, "VAULT_ variable of the environment", "VAULT_CLIENT_TIMEOUT")
}
