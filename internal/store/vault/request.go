package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	readsAtOnce = 16       // reads at once in one List
	maxAnswer   = 64 << 20 // bytes
)

// newClient makes a client of the SDK without settings from the environment:
// all settings come from the worker, which can show them. The client has no
// token.
func newClient(config Config, index *index) (*api.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 4 * readsAtOnce
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	// One request at a time on a connection: after a request is given up, the
	// next one gets another connection.
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	if config.CA != "" {
		pem, err := os.ReadFile(config.CA)
		if err != nil {
			return nil, fmt.Errorf("store.vault.ca: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("store.vault.ca: %s holds no certificate in PEM", config.CA)
		}
	}
	client, err := api.NewClient(&api.Config{
		Address: config.Address,
		HttpClient: &http.Client{
			Transport:     roundTripper{transport, index},
			CheckRedirect: checkRedirect,
		},
		DisableRedirects: true, // the SDK's redirects would send our body as null
		MaxRetries:       0,    // retries belong to the caller
	})
	if err != nil {
		// NewClient reads the environment before it uses the given settings.
		return nil, fmt.Errorf("store.vault.address, or a VAULT_ variable of the environment: %w", err)
	}
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.ClearToken()
	client.ClearNamespace()
	if config.Namespace != "" {
		client.SetNamespace(config.Namespace)
	}
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	return client, nil
}

// checkRedirect follows a standby to the active server, only with the same
// method, and never from HTTPS to HTTP.
func checkRedirect(next *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > 1 || next.Method != first.Method || first.URL.Scheme == "https" && next.URL.Scheme != "https" {
		return http.ErrUseLastResponse
	}
	return nil
}

// roundTripper adds the index to requests and takes it from answers. It also
// stops net/http from reading a request's body after it has returned, so that
// the body can be wiped.
type roundTripper struct {
	http.RoundTripper
	index *index
}

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	r.index.require(request.Header)
	if request.Body != nil && request.Body != http.NoBody {
		body := &lentBody{ReadCloser: request.Body}
		defer body.recall()
		request.Body, request.GetBody = body, nil
	}
	response, err := r.RoundTripper.RoundTrip(request)
	if err == nil {
		r.index.answered(response.Header)
	}
	return response, err
}

// lentBody is a body that its owner can take back.
type lentBody struct {
	io.ReadCloser
	mu       sync.Mutex
	recalled bool
}

func (b *lentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.recalled {
		return 0, errors.New("the request was given up")
	}
	return b.ReadCloser.Read(p)
}

func (b *lentBody) recall() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recalled = true
}

// answer is an answer of Vault. The caller who gets it must wipe it.
type answer struct {
	body []byte
	date time.Time // of Vault's own clock, in whole seconds; zero if it does not say
}

func (a *answer) wipe() { clear(a.body) }

// unmarshal decodes the answer's JSON and wipes it. Its errors do not quote the
// answer.
func (a *answer) unmarshal(into any) error {
	defer a.wipe()
	if json.Unmarshal(a.body, into) != nil {
		return errGarbage
	}
	return nil
}

var errGarbage = errors.New("its answer is not one of Vault: check for a proxy in between")

// request is one request to Vault, below /v1/.
type request struct {
	path string
	send func(ctx context.Context, logical *api.Logical) (*api.Response, error)
}

func read(path string) request {
	return request{path, func(ctx context.Context, logical *api.Logical) (*api.Response, error) {
		return logical.ReadRawWithContext(ctx, path)
	}}
}

func list(path string) request {
	return request{path, func(ctx context.Context, logical *api.Logical) (*api.Response, error) {
		return logical.ReadRawWithDataWithContext(ctx, path, map[string][]string{"list": {"true"}})
	}}
}

func write(path string, body []byte) request {
	return request{path, func(ctx context.Context, logical *api.Logical) (*api.Response, error) {
		return logical.WriteRawWithContext(ctx, path, body)
	}}
}

func remove(path string) request {
	return request{path, func(ctx context.Context, logical *api.Logical) (*api.Response, error) {
		_, err := logical.DeleteWithContext(ctx, path)
		return nil, err
	}}
}

// errAbsent means that there is nothing at the path. The answer may say more.
var errAbsent = errors.New("nothing is there")

// catchUp is how long a call repeats a request to a server that has not caught
// up: a standby is seldom more than milliseconds behind.
const catchUp = time.Second

// caughtUp is exchange with a server that may not have caught up with the index
// (412). Then it asks the server to forward the request, or waits until it has
// caught up. It asks only then: a server that does not allow forwarding
// (allow_forwarding_via_header, Vault's default) refuses every request that
// asks.
func (s *Store) caughtUp(ctx context.Context, r request) (answer, error) {
	got, behind := exchange(ctx, s.client, r)
	if statusOf(behind) != http.StatusPreconditionFailed {
		return got, behind
	}
	if !s.keepsRequests.Load() {
		got, err := exchange(ctx, s.client.WithRequestCallbacks(api.ForwardInconsistent()), r)
		switch {
		case isForwardingOff(err):
			s.keepsRequests.Store(true)
		case statusOf(err) != http.StatusPreconditionFailed:
			return got, err
		}
	}
	end := time.Now().Add(catchUp)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		next := time.Now().Add(wait)
		if deadline, ok := ctx.Deadline(); next.After(end) || ok && next.After(deadline) {
			return answer{}, behind
		}
		select {
		case <-ctx.Done():
			return answer{}, behind
		case <-time.After(wait):
		}
		if got, err := exchange(ctx, s.client, r); statusOf(err) != http.StatusPreconditionFailed {
			return got, err
		}
	}
}

// do sends a request. If the token was lost and there is a new one, it sends
// the request again: a request refused for its token had no effect.
func (s *Store) do(ctx context.Context, r request) (answer, error) {
	used := s.client.Token()
	got, err := s.caughtUp(ctx, r)
	if statusOf(err) != http.StatusForbidden {
		return got, err
	}
	renewed, loginErr := s.session.replace(ctx, used)
	switch {
	case loginErr != nil:
		return answer{}, loginErr
	case !renewed:
		return answer{}, err
	}
	return s.caughtUp(ctx, r)
}

// exchange sends a request with the client's token and reads the whole answer.
func exchange(ctx context.Context, client *api.Client, r request) (answer, error) {
	response, err := r.send(ctx, client.Logical())
	if response == nil {
		return answer{}, err
	}
	defer response.Body.Close()
	got := answer{}
	got.date, _ = http.ParseTime(response.Header.Get("Date"))
	absent := statusOf(err) == http.StatusNotFound && !isNoMount(err)
	switch {
	case absent && !isVaults(err):
		return answer{}, errGarbage
	case statusOf(err) == http.StatusTooManyRequests:
		return answer{}, &limitedError{err, parseRetryAfter(response.Header)}
	case err != nil && !absent:
		return answer{}, err
	}
	if got.body, err = readAll(response.Body, response.ContentLength); err != nil {
		return answer{}, err
	}
	if absent {
		return got, errAbsent
	}
	return got, nil
}

// readAll is like io.ReadAll, but wipes all buffers that it leaves behind.
func readAll(r io.Reader, size int64) ([]byte, error) {
	const least = 4 << 10
	buffer := make([]byte, 0, min(max(size+1, least), 1<<20)) // one more byte, to see the end
	for {
		n, err := r.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case err == io.EOF:
			return buffer, nil
		case err == nil && len(buffer) > maxAnswer:
			err = fmt.Errorf("its answer has more than %d bytes", maxAnswer)
		}
		if err != nil {
			clear(buffer)
			return nil, err
		}
		if len(buffer) == cap(buffer) {
			grown := append(make([]byte, 0, 2*cap(buffer)), buffer...)
			clear(buffer)
			buffer = grown
		}
	}
}
