package vault_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/vault"
	"credbus/internal/testbed/lagproxy"
)

// pair opens a store at the active server and one at a standby that lags.
func pair(t *testing.T, config lagproxy.Config) (writer, reader *vault.Store, proxy *lagproxy.Proxy) {
	t.Helper()
	b := sharedBed(t)
	proxy = lagproxy.New(t, b.Fact("address"), config)
	settings := b.config(t)
	settings.Address = proxy.Active
	writer = open(t, settings)
	settings.Address = proxy.Standby
	reader = open(t, settings)
	return writer, reader, proxy
}

// The proxy works: without an index, a standby returns the old state for as long as it
// lags, and no longer.
func TestStandbyLags(t *testing.T) {
	const lag = time.Hour
	writer, reader, _ := pair(t, lagproxy.Config{Lag: lag})
	rec := newRecord("org:acme", "key", "w1")
	put(t, writer, rec)
	if _, err := reader.Get(t.Context(), rec.Target); err == nil {
		t.Error("the standby returns a write before it has caught up")
	}
	page, err := reader.List(t.Context(), store.ListOptions{Limit: 10})
	if must(t, err); len(page.Records) != 0 {
		t.Errorf("the standby lists %+v", page.Records)
	}
	writer, reader, _ = pair(t, lagproxy.Config{Lag: 50 * time.Millisecond})
	put(t, writer, rec)
	eventually(t, "the standby has caught up", func() bool { _, err := reader.Get(t.Context(), rec.Target); return err == nil })
}

// A read with the index of a write is not behind that write, at any server.
func TestIndexMakesReadsConsistent(t *testing.T) {
	for name, config := range map[string]lagproxy.Config{
		"forwards": {Lag: time.Hour, Indexes: true, Forwards: true},
		"refuses":  {Lag: 100 * time.Millisecond, Indexes: true},
	} {
		t.Run(name, func(t *testing.T) {
			writer, reader, proxy := pair(t, config)
			old := 0
			for i := range 20 {
				rec := newRecord("org:acme", "key", fmt.Sprintf("w%d", i))
				version := put(t, writer, rec)
				index := writer.Index()
				if index == "" {
					t.Fatal("the answer to a write had an index, but the store has none")
				}
				reader.Observe(index)
				got, err := reader.Get(t.Context(), rec.Target)
				if err != nil || got.Version != version {
					old++
				}
			}
			_, awaited, forwarded := proxy.Counts()
			t.Logf("old=%d of 20, awaited=%d forwarded=%d", old, awaited, forwarded)
			if old > 0 || awaited+forwarded == 0 {
				t.Errorf("%d of 20 reads were older than their index; %d waited, %d were forwarded", old, awaited, forwarded)
			}
		})
	}
}

// A store at a standby reads its own writes without a call of Observe.
func TestOwnWritesAtAStandby(t *testing.T) {
	_, reader, _ := pair(t, lagproxy.Config{Lag: time.Hour, Indexes: true, Forwards: true})
	rec := newRecord("org:acme", "key", "w1")
	version := put(t, reader, rec)
	if got := get(t, reader, rec.Target); got.Version != version {
		t.Errorf("read %s, wrote %s", got.Version, version)
	}
}

// An invalid or older index changes nothing.
func TestObserveRefusesGarbage(t *testing.T) {
	writer, _, _ := pair(t, lagproxy.Config{Lag: time.Hour, Indexes: true, Forwards: true})
	put(t, writer, newRecord("org:acme", "key", "w1"))
	older := writer.Index()
	put(t, writer, newRecord("org:acme", "key", "w2"))
	newest := writer.Index()
	for _, index := range []string{"", ",", "garbage", "v1:a:b", "a\r\nX-Vault-Token: x", string(make([]byte, 5000)), older} {
		writer.Observe(index)
	}
	if got := writer.Index(); got != newest || newest == older {
		t.Errorf("index %q, want %q, after %q", got, newest, older)
	}
}

// withoutUUID removes the UUID from Vault's description of a mount.
func withoutUUID(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if !strings.HasPrefix(r.URL.Path, "/v1/sys/internal/ui/mounts/") {
		next.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	w.WriteHeader(answer.Code)
	io.WriteString(w, strings.ReplaceAll(answer.Body.String(), `"uuid"`, `"other"`))
}

// A place has the same identity through every address. Another place has another one.
func TestIdentity(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	identity := func(config vault.Config) string {
		t.Helper()
		text, err := open(t, config).Identity(t.Context())
		if must(t, err); text == "" || len(text) > 255 {
			t.Errorf("identity %q", text)
		}
		return text
	}
	direct := identity(config)
	p := b.proxy(t)
	config.Address = p.URL
	if other := identity(config); other != direct || !strings.Contains(direct, "mount:") {
		t.Errorf("%q through another address, want %q", other, direct)
	}
	// If the server does not show the UUID of the mount, the ID of the cluster counts.
	p.set(withoutUUID)
	byCluster := identity(config)
	if byCluster == direct || !strings.Contains(byCluster, "cluster:") || strings.Contains(byCluster, p.URL) {
		t.Errorf("%q by the cluster's ID", byCluster)
	}
	if other := identity(b.config(t)); other == direct {
		t.Errorf("another path has the same identity %q", other)
	}
}
