package kubernetes_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/store/kubernetes"
)

// proxy stands between a store and the real API server, and may answer in its
// place.
type proxy struct {
	server   *httptest.Server
	requests atomic.Int32
	// answer reports whether it answered. Nil never answers.
	answer atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	// seen gets the body of every answer of the API server.
	seen atomic.Pointer[func(r *http.Request, body []byte)]
}

func (n *namespace) proxy(t testing.TB) *proxy {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(n.authority(t))
	target, err := url.Parse(n.server.Fact("address"))
	must(t, err)
	p := new(proxy)
	forward := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ModifyResponse: func(answer *http.Response) error {
			seen := p.seen.Load()
			if seen == nil {
				return nil
			}
			answer.Body = &tee{answer.Body, func(b []byte) { (*seen)(answer.Request, b) }}
			return nil
		},
	}
	p.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		if answer := p.answer.Load(); answer != nil && (*answer)(w, r) {
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
	})
	return p
}

// tee calls show with the bytes of each Read.
type tee struct {
	io.ReadCloser
	show func([]byte)
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.show(bytes.Clone(p[:n]))
	return n, err
}

// open opens a store that reaches the API server through p.
func (p *proxy) open(t testing.TB, n *namespace, config kubernetes.Config) *kubernetes.Store {
	t.Helper()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	return n.openAt(t, p.server.URL, authority, config)
}

func (p *proxy) set(answer func(w http.ResponseWriter, r *http.Request) bool) {
	p.answer.Store(&answer)
}

func (p *proxy) pass() { p.answer.Store(nil) }

// cable forwards connections to an address. silence makes the present ones go silent:
// they stay open, and nothing comes through them any more.
type cable struct {
	listener net.Listener
	to       string

	mu       sync.Mutex
	silenced chan struct{} // closed by silence; later connections get a new one
	carried  int
}

func newCable(t testing.TB, to string) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	c := &cable{listener: listener, to: to, silenced: make(chan struct{})}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			t.Cleanup(func() { near.Close(); far.Close() })
			c.mu.Lock()
			silenced := c.silenced
			c.carried++
			c.mu.Unlock()
			go relay(near, far, silenced)
			go relay(far, near, silenced)
		}
	}()
	return c
}

func relay(into, from net.Conn, silenced <-chan struct{}) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-silenced:
			n = 0
		default:
		}
		if _, writeErr := into.Write(buffer[:n]); err != nil || writeErr != nil {
			select {
			case <-silenced: // the other end does not notice
			default:
				into.Close()
			}
			return
		}
	}
}

// settle returns once no connection has come for a while. A client may dial for a
// request that another connection then serves, and keep the new connection.
func (c *cable) settle() {
	const while = 500 * time.Millisecond
	for carried := -1; ; {
		c.mu.Lock()
		now := c.carried
		c.mu.Unlock()
		if now == carried {
			return
		}
		carried = now
		time.Sleep(while)
	}
}

// silence makes the present connections go silent, and returns their number.
func (c *cable) silence() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.silenced)
	c.silenced = make(chan struct{})
	return c.carried
}
