// Package lagproxy makes a real Vault look like a cluster: an active server, and a
// standby that answers reads with the state of some time ago. Standbys of OpenBao 2.5
// and performance standbys of Vault Enterprise do that.
//
//	worker A ─► Active  ───────────────────────────────► Vault
//	worker B ─► Standby ─► a write, or a read of another path ─► Vault
//	                  └──► a read of a secret: as it was Lag ago
//
// All writes of secrets must go through the proxy, because it reads a secret before
// each write: until Lag after the write was acknowledged, the standby answers with that
// state. The proxy carries out one write at a time.
//
// With Indexes, the proxy also obeys the headers that HashiCorp documents
// (https://developer.hashicorp.com/vault/docs/enterprise/consistency). Answers to
// writes carry X-Vault-Index. If a read carries a newer index than the standby has
// applied, the standby answers 412. If the read also says "X-Vault-Inconsistent:
// forward-active-node", the standby forwards it instead.
package lagproxy

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Config says what the standby is like.
type Config struct {
	Lag      time.Duration // for how long it does not know an acknowledged write
	Indexes  bool          // it has the headers of Vault Enterprise
	Forwards bool          // it also forwards reads on request (allow_forwarding_via_header); by default Vault refuses that
}

// Proxy has two addresses for one Vault.
type Proxy struct {
	Active  string // answers like Vault itself
	Standby string // answers reads of secrets as they were Config.Lag ago

	config Config
	next   http.Handler

	writing sync.Mutex // held for each write

	mu       sync.Mutex
	past     map[string][]*view // by the path of a read, oldest first
	acked    []time.Time        // of write n at n-1
	stale    int
	awaited  int
	forwards int
}

// view is the answer to a read, as it was before a write.
type view struct {
	status int
	header http.Header
	body   []byte
	until  time.Time // when the write was acknowledged; zero while it is under way
}

// New serves both addresses until the test ends. The target is Vault's address.
func New(t testing.TB, target string, config Config) *Proxy {
	t.Helper()
	at, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{config: config, past: make(map[string][]*view), next: &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(at) },
		ErrorLog: log.New(io.Discard, "", 0),
	}}
	active := httptest.NewServer(http.HandlerFunc(p.serveActive))
	standby := httptest.NewServer(http.HandlerFunc(p.serveStandby))
	t.Cleanup(active.Close)
	t.Cleanup(standby.Close)
	p.Active, p.Standby = active.URL, standby.URL
	return p
}

// Counts returns how many reads the standby answered with an old state, how many it
// answered 412, and how many it forwarded.
func (p *Proxy) Counts() (stale, awaited, forwarded int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stale, p.awaited, p.forwards
}

// CatchUp makes the standby know all writes that were acknowledged so far.
func (p *Proxy) CatchUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, views := range p.past {
		p.past[key] = slices.DeleteFunc(views, func(v *view) bool { return !v.until.IsZero() })
	}
}

func (p *Proxy) serveActive(w http.ResponseWriter, r *http.Request) {
	if reads, ok := written(r); ok {
		p.write(w, r, reads)
		return
	}
	p.next.ServeHTTP(w, r)
}

func (p *Proxy) serveStandby(w http.ResponseWriter, r *http.Request) {
	const inconsistent = "X-Vault-Inconsistent"
	if forward := r.Header.Get(inconsistent) == "forward-active-node"; forward && p.config.Forwards {
		r.Header.Del(inconsistent) // the real Vault behind would refuse it
		if p.lacks(r) {
			p.count(&p.forwards)
			p.next.ServeHTTP(w, r)
			return
		}
	}
	if r.Method != http.MethodGet {
		p.serveActive(w, r)
		return
	}
	if p.lacks(r) {
		if r.Header.Get(inconsistent) != "" { // but forwarding is off: the real Vault behind says so
			p.next.ServeHTTP(w, r)
			return
		}
		p.count(&p.awaited)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusPreconditionFailed)
		io.WriteString(w, `{"errors":["required index state not present"]}`)
		return
	}
	old := p.before(r)
	if old == nil {
		p.next.ServeHTTP(w, r)
		return
	}
	p.count(&p.stale)
	w.Header().Set("Content-Type", old.header.Get("Content-Type"))
	w.WriteHeader(old.status)
	w.Write(old.body)
}

func (p *Proxy) count(what *int) {
	p.mu.Lock()
	*what++
	p.mu.Unlock()
}

// written returns the reads whose answers a request changes: those of a secret, and of
// the lists that contain it before or after.
func written(r *http.Request) (reads []string, ok bool) {
	if r.Method == http.MethodGet || r.Method == "LIST" {
		return nil, false
	}
	segments := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, "/v1/"), "/"), "/")
	at := slices.IndexFunc(segments, func(s string) bool {
		return slices.Contains([]string{"data", "metadata", "destroy", "delete", "undelete"}, s)
	})
	if at < 1 || at == len(segments)-1 || segments[0] == "sys" || segments[0] == "auth" {
		return nil, false
	}
	mount, secret := "/v1/"+strings.Join(segments[:at], "/"), segments[at+1:]
	name := strings.Join(secret, "/")
	reads = []string{mount + "/data/" + name, mount + "/metadata/" + name}
	for i := len(secret) - 1; i > 0; i-- {
		reads = append(reads, mount+"/metadata/"+strings.Join(secret[:i], "/")+"?list=true")
	}
	return reads, true
}

// keyOf is the name of a read in Proxy.past.
func keyOf(u *url.URL) string {
	key := strings.TrimRight(u.Path, "/")
	if u.RawQuery != "" {
		key += "?" + u.RawQuery
	}
	return key
}

// write records the answers that a write may change, and then lets it through.
func (p *Proxy) write(w http.ResponseWriter, r *http.Request, reads []string) {
	p.writing.Lock()
	defer p.writing.Unlock()
	views := make(map[string]*view)
	for _, read := range reads {
		if seen := p.look(r, read); seen.status == http.StatusOK || seen.status == http.StatusNotFound {
			views[read] = seen
		}
	}
	p.mu.Lock()
	for key, seen := range views {
		kept := slices.DeleteFunc(p.past[key], func(v *view) bool { return p.over(v) })
		p.past[key] = append(kept, seen)
	}
	p.mu.Unlock()
	answer := httptest.NewRecorder()
	p.next.ServeHTTP(answer, r)
	p.mu.Lock()
	now := time.Now()
	if answer.Code < 300 {
		p.acked = append(p.acked, now)
	}
	for _, seen := range views {
		seen.until = now
		if answer.Code >= 300 {
			seen.until = now.Add(-p.config.Lag) // it changed nothing
		}
	}
	index := len(p.acked)
	p.mu.Unlock()
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	if p.config.Indexes && answer.Code < 300 {
		w.Header().Set("X-Vault-Index", format(index))
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// over reports whether a standby has seen the write that came after v.
func (p *Proxy) over(v *view) bool {
	return !v.until.IsZero() && time.Since(v.until) >= p.config.Lag
}

// look reads with the credentials of the writer.
func (p *Proxy) look(writer *http.Request, read string) *view {
	r := httptest.NewRequestWithContext(writer.Context(), http.MethodGet, read, nil)
	for _, name := range []string{"X-Vault-Token", "X-Vault-Namespace", "X-Vault-Request"} {
		r.Header[name] = writer.Header[name]
	}
	answer := httptest.NewRecorder()
	p.next.ServeHTTP(answer, r)
	return &view{status: answer.Code, header: answer.Header(), body: bytes.Clone(answer.Body.Bytes())}
}

// before is the answer to a read as of Lag ago, nil if that is the current answer.
func (p *Proxy) before(r *http.Request) *view {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.past[keyOf(r.URL)] {
		if !p.over(v) {
			return v
		}
	}
	return nil
}

// lacks reports whether the standby has not applied what a read requires.
func (p *Proxy) lacks(r *http.Request) bool {
	if !p.config.Indexes {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, required := range r.Header.Values("X-Vault-Index") {
		n := parse(required)
		if n > len(p.acked) || n > 0 && time.Since(p.acked[n-1]) < p.config.Lag {
			return true
		}
	}
	return false
}

// format returns an index in the form of Vault's, with a signature that nobody
// checks.
func format(n int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "v1:lagproxy:%d:0:00", n))
}

// parse returns the number in an index, 0 if there is none.
func parse(index string) int {
	text, _ := base64.StdEncoding.DecodeString(index)
	fields := strings.Split(string(text), ":")
	if len(fields) < 3 {
		return 0
	}
	n, _ := strconv.Atoi(fields[2])
	return max(n, 0)
}
