package vault_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
	"credbus/internal/store/vault"
)

// role makes an AppRole for the path of a store, with settings, and returns a
// configuration that logs in with it.
func (b *bed) role(t testing.TB, settings map[string]any) vault.Config {
	t.Helper()
	config := b.config(t)
	role := map[string]any{"token_policies": b.policies(t, config.Token), "token_no_default_policy": true}
	for name, value := range settings {
		role[name] = value
	}
	path := "auth/approle/role/" + unique("role")
	b.write(t, path, role)
	read, err := b.root.Logical().ReadWithContext(context.Background(), path+"/role-id")
	must(t, err)
	config.Token, config.Auth = "", "approle"
	config.RoleID = read.Data["role_id"].(string)
	if settings["bind_secret_id"] != false {
		config.SecretID = b.write(t, path+"/secret-id", nil).Data["secret_id"].(string)
	}
	return config
}

// logins counts the logins that go through the proxy, and passes them to the hook login.
func (p *proxy) logins(login hook) *atomic.Int64 {
	count := new(atomic.Int64)
	p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/login") {
			count.Add(1)
			login(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	return count
}

// works fails unless every method works.
func works(t testing.TB, s store.Store) {
	t.Helper()
	all := calls(s)
	for _, name := range []string{"Put", "Get", "List", "Delete"} {
		if err := all[name](context.Background()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenIsRenewed(t *testing.T) {
	t.Parallel()
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.config(t)
	auth := b.token(t, api.TokenCreateRequest{Policies: b.policies(t, config.Token), TTL: "4s"})
	var log log
	config.Token, config.Address, config.Logger = auth.ClientToken, p.URL, log.logger()
	var refusals atomic.Int64
	p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/renew-self") && refusals.Add(1) <= 2 { // it must overcome two failures
			http.Error(w, `{"errors":["internal error"]}`, http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	})
	s := open(t, config)
	eventually(t, "the token has outlived its TTL", func() bool {
		found, err := b.root.Auth().Token().LookupAccessorWithContext(t.Context(), auth.Accessor)
		must(t, err)
		renewed, _ := found.Data["last_renewal_time"].(json.Number)
		last, _ := renewed.Int64()
		created, _ := found.Data["creation_time"].(json.Number).Int64()
		return last >= created+5
	})
	works(t, s)
	must(t, s.Close(t.Context()))
	if text := log.String(); strings.Contains(text, config.Token) || !strings.Contains(text, "logged in to Vault") || !strings.Contains(text, "was not renewed") ||
		!strings.Contains(text, "renewed the token for Vault") {
		t.Errorf("it logs\n%s", text)
	}
}

// A token near its maximum TTL is replaced before it ends. No call is refused
// meanwhile.
func TestLoginAtMaximumTTL(t *testing.T) {
	t.Parallel()
	b := sharedBed(t)
	config := b.role(t, map[string]any{"token_ttl": "4s", "token_max_ttl": "6s"})
	var log log
	config.Logger = log.logger()
	s := open(t, config)
	tokens := make(map[string]bool)
	eventually(t, "there was a third token", func() bool {
		works(t, s)
		tokens[s.Token()] = true
		return len(tokens) == 3
	})
	must(t, s.Close(t.Context()))
	text := log.String()
	for token := range tokens {
		if strings.Contains(text, token) {
			t.Error("the log shows a token")
		}
	}
	if strings.Contains(text, config.SecretID) || strings.Contains(text, "does not know the token") || strings.Count(text, "logged in to Vault") < 3 {
		t.Errorf("it logs\n%s", text)
	}
}

// The file with the token is read again before the token expires.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	b := sharedBed(t)
	config := b.config(t)
	policies, fixed := b.policies(t, config.Token), false
	token := func(ttl string) string {
		return b.token(t, api.TokenCreateRequest{Policies: policies, TTL: ttl, Renewable: &fixed}).ClientToken
	}
	first, second := token("4s"), token("1h")
	config.Token, config.TokenFile = "", filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(config.TokenFile, []byte(first+"\n"), 0o600))
	s := open(t, config)
	works(t, s)
	must(t, os.WriteFile(config.TokenFile, []byte(second+"\n"), 0o600))
	eventually(t, "the second token is used", func() bool { return s.Token() == second })
	works(t, s)

	must(t, os.WriteFile(config.TokenFile, nil, 0o600))
	refused(t, config, store.ErrPermission, "store.vault.token_file", "is empty")
	must(t, os.WriteFile(config.TokenFile, []byte("hvs.wrong-token"), 0o600))
	refused(t, config, store.ErrPermission, "store.vault.token_file", "does not know the token")
	config.TokenFile = "/not/there"
	refused(t, config, store.ErrPermission, "store.vault.token_file", "/not/there")
}

// The log warns of a token that cannot be replaced before it ends.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	b := sharedBed(t)
	config := b.config(t)
	fixed := false
	config.Token = b.token(t, api.TokenCreateRequest{Policies: b.policies(t, config.Token), TTL: "3s", Renewable: &fixed}).ClientToken
	var log log
	config.Logger = log.logger()
	s := open(t, config)
	eventually(t, "the log warns", func() bool {
		return strings.Contains(log.String(), "the token for Vault will expire and cannot be renewed") && strings.Contains(log.String(), "setting=store.vault.token ends=")
	})
	eventually(t, "calls are refused", func() bool {
		return calls(s)["Get"](t.Context()) != nil && !errors.Is(calls(s)["Get"](t.Context()), store.ErrNotFound)
	})
	for name, call := range calls(s) {
		err := call(t.Context())
		if says(t, err, store.ErrPermission, "store.vault.token: Vault does not know the token"); err != nil && strings.Contains(err.Error(), config.Token) {
			t.Errorf("%s shows the token", name)
		}
	}
	must(t, s.Close(t.Context()))
	if strings.Contains(log.String(), config.Token) {
		t.Error("the log shows the token")
	}
}

// A token is revoked between two calls. One login replaces it for all calls that fail
// meanwhile, and each of them then succeeds.
func TestTokenIsLost(t *testing.T) {
	t.Parallel()
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.role(t, nil)
	config.Address = p.URL
	s := open(t, config)
	put(t, s, newRecord("org:acme", "key", "w1"))
	logins := p.logins(pass)
	for round := range int64(3) {
		s.Age(time.Minute)
		must(t, b.root.Auth().Token().RevokeTreeWithContext(t.Context(), s.Token()))
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				if rec, err := s.Get(context.Background(), newRecord("org:acme", "key", "").Target); err != nil || rec.WriteID == "" {
					t.Errorf("Get: %v", err)
				}
				rec := newRecord("org:acme", unique("key"), "w1")
				if _, err := s.Put(context.Background(), rec, store.Precondition{Absent: true}); err != nil {
					t.Errorf("Put: %v", err)
				}
			})
		}
		callers.Wait()
		if n := logins.Load(); n != round+1 {
			t.Fatalf("%d logins after %d lost tokens", n, round+1)
		}
	}

	// Without a login, a call must return the reason.
	lost := func() error {
		s.Age(time.Minute)
		must(t, b.root.Auth().Token().RevokeTreeWithContext(t.Context(), s.Token()))
		_, err := s.Get(t.Context(), newRecord("org:acme", "key", "").Target)
		return err
	}
	p.logins(answers(http.StatusServiceUnavailable, `{"errors":["Vault is sealed"]}`))
	says(t, lost(), store.ErrUnavailable, "auth/approle/login", "sealed")
	p.logins(answers(http.StatusBadRequest, `{"errors":["invalid role or secret ID"]}`))
	_, err := s.Get(t.Context(), newRecord("org:acme", "key", "").Target)
	says(t, err, store.ErrPermission, "store.vault.role_id, store.vault.secret_id", "invalid role or secret ID")
	p.logins(answers(http.StatusOK, `hello`))
	_, err = s.Get(t.Context(), newRecord("org:acme", "key", "").Target)
	says(t, err, store.ErrUnavailable, "auth/approle/login")
	p.set(pass)
	works(t, s)
}

// A refusal by the policy must not cause a login.
func TestRefusalIsNoLostToken(t *testing.T) {
	t.Parallel()
	b := sharedBed(t)
	p := b.proxy(t)
	config := b.role(t, nil)
	config.Address = p.URL
	s := open(t, config)
	logins := p.logins(pass)
	policies := b.policies(t, s.Token())
	must(t, b.root.Sys().PutPolicyWithContext(t.Context(), policies[0], `path "auth/token/lookup-self" { capabilities = ["read"] }`))
	s.Age(time.Minute)
	for range 3 {
		_, err := s.Get(t.Context(), newRecord("org:acme", "key", "").Target)
		says(t, err, store.ErrPermission, "must allow read on secret/data/"+config.Path)
	}
	if n := logins.Load(); n != 0 {
		t.Errorf("%d logins, want none", n)
	}
}

func TestAppRole(t *testing.T) {
	b := sharedBed(t)
	config := b.role(t, nil)
	works(t, open(t, config))

	wrong := config
	wrong.RoleID = "no-such-role"
	refused(t, wrong, store.ErrPermission, "store.vault.role_id, store.vault.secret_id")
	wrong = config
	wrong.SecretID = "no-such-secret-id"
	refused(t, wrong, store.ErrPermission, "store.vault.role_id, store.vault.secret_id", "AppRole refuses them")
	wrong = config
	wrong.AuthMount = "elsewhere"
	refused(t, wrong, store.ErrPermission, "store.vault.auth_mount", "vault auth enable -path=elsewhere approle")

	lacking := b.role(t, map[string]any{"token_policies": b.policy(t, config.Path, `path "auth/token/lookup-self"`, `path "auth/token"`)})
	lacking.Path = config.Path
	refused(t, lacking, store.ErrPermission, "must allow read on auth/token/lookup-self")

	file := config
	file.SecretID, file.SecretIDFile = "", filepath.Join(t.TempDir(), "secret-id")
	refused(t, file, store.ErrPermission, "store.vault.secret_id_file")
	must(t, os.WriteFile(file.SecretIDFile, []byte(config.SecretID+"\n"), 0o600))
	works(t, open(t, file))

	// A role may need no secret ID.
	works(t, open(t, b.role(t, map[string]any{"bind_secret_id": false, "token_bound_cidrs": "127.0.0.0/8"})))
}

// The login is Vault's own. Only the Kubernetes API, which Vault asks about the token
// of the pod, is a fake.
func TestKubernetes(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	jwt := func(claims string) string {
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("not checked by this API"))
	}
	pod := jwt(`{"iss":"kubernetes/serviceaccount","sub":"system:serviceaccount:credbus:worker","kubernetes.io":{"namespace":"credbus","serviceaccount":{"name":"worker","uid":"u1"}}}`)
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			Spec struct {
				Token string `json:"token"`
			} `json:"spec"`
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &review); err != nil || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
			http.Error(w, "what is this", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		status := `{"authenticated":false,"error":"unknown"}`
		if review.Spec.Token == pod {
			status = `{"authenticated":true,"user":{"username":"system:serviceaccount:credbus:worker","uid":"u1","groups":["system:serviceaccounts","system:authenticated"]}}`
		}
		io.WriteString(w, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":`+status+`}`)
	}))
	defer cluster.Close()
	mount := unique("cluster")
	b.write(t, "sys/auth/"+mount, map[string]any{"type": "kubernetes"})
	b.write(t, "auth/"+mount+"/config", map[string]any{"kubernetes_host": cluster.URL, "token_reviewer_jwt": jwt(`{}`), "disable_local_ca_jwt": true})
	b.write(t, "auth/"+mount+"/role/credbus", map[string]any{
		"bound_service_account_names": "worker", "bound_service_account_namespaces": "credbus", "token_policies": b.policies(t, config.Token),
	})
	config.Token, config.Auth, config.AuthMount, config.Role = "", "kubernetes", mount, "credbus"
	config.JWTFile = filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(config.JWTFile, []byte(pod), 0o600))
	works(t, open(t, config))

	wrong := config
	wrong.Role = "other"
	refused(t, wrong, store.ErrPermission, "store.vault.role, store.vault.jwt_file")
	wrong = config
	wrong.JWTFile = ""
	refused(t, wrong, store.ErrPermission, "store.vault.jwt_file", vault.DefaultJWTFile)
	must(t, os.WriteFile(config.JWTFile, []byte(jwt(`{"iss":"kubernetes/serviceaccount","sub":"system:serviceaccount:other:worker","kubernetes.io":{"namespace":"other","serviceaccount":{"name":"worker","uid":"u2"}}}`)), 0o600))
	refused(t, config, store.ErrPermission, "store.vault.role, store.vault.jwt_file", "service account")
}
