package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"credbus/subjects"
)

// Defaults of Config's zero values.
const (
	DefaultTimeout = 5 * time.Second
	DefaultRetries = 5
	DefaultHedge   = time.Millisecond
	DefaultName    = "credbus client"
)

// Config changes what Connect does. Every field may be left zero.
type Config struct {
	// Context names a nats context, as the nats command keeps them, or is the
	// absolute path of a context file. Connect uses its URL if it is given
	// none.
	Context string
	// Conn is an existing connection to use instead of a new one. Close leaves
	// it open. Its handlers stay as they are, so the client does not learn that
	// NATS refused a subject or that the connection broke: commands that wait
	// then end with their timeout, and only after that does the client notice
	// that NATS refuses its inbox.
	Conn *nats.Conn
	// Prefix is the prefix of the workers, subjects.DefaultPrefix if empty.
	Prefix string
	// Timeout bounds a request with all its repetitions if the context has no
	// deadline. Zero means DefaultTimeout. Batches and iterators send several
	// requests, each with a timeout of its own.
	Timeout time.Duration
	// Retries is how often the client repeats a request: after 100 ms, 200 ms and
	// so on, doubling, each shortened at random by up to half, and never past the
	// deadline. Zero means DefaultRetries, enough for 1.5 to 3 s without a
	// connection or a worker; negative means never. Refusals by a limit that say when to come
	// back do not count: the deadline bounds them.
	Retries int
	// Hedge is the least time after which the client sends a read again if it has no
	// reply, in case the worker is stuck. NATS chooses the worker of each copy. If replies
	// to that command usually take longer, the client waits for their 95th percentile, at
	// most 2 s or Hedge if that is more. It sends up to 20 copies, at growing intervals of
	// up to 500 ms, and uses the first usable reply. Copies that do not help are limited to
	// a tenth of the reads and 100 more. Writes never go to a second worker. Zero is
	// DefaultHedge; a negative value turns hedging off.
	Hedge time.Duration
	// Clear sends requests in clear. Then the operators of the NATS servers, and all who may
	// listen there, can read the values. Otherwise all requests and replies are sealed end to
	// end, and the client's account needs permission for seal_key.
	Clear bool
	// WireKey is the public key that signs the workers' keys. "credbus keys wire" prints it.
	// The client accepts only keys with that signature. If WireKey is empty, the client trusts
	// each key that it gets, and an attacker who controls the NATS servers can pose as a worker.
	WireKey string
	// Name is the name that NATS servers show, DefaultName if empty.
	Name string
	// NATSOptions are applied after those that Connect sets, and so override
	// them.
	NATSOptions []nats.Option
}

func (c Config) withDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, string(subjects.DefaultPrefix))
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.Retries = cmp.Or(c.Retries, DefaultRetries)
	c.Hedge = cmp.Or(c.Hedge, DefaultHedge)
	c.Name = cmp.Or(c.Name, DefaultName)
	return c
}

func (c Config) check(url string) error {
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("client: timeout of %v: give one above zero, or none for %v", c.Timeout, DefaultTimeout)
	case c.Conn != nil && (url != "" || c.Context != "" || len(c.NATSOptions) > 0):
		return errors.New("client: a connection was given: leave out URL, context and NATS options, which it has already")
	}
	return nil
}

// Client sends commands to workers. All methods may be called concurrently.
type Client struct {
	nc       *nats.Conn
	owned    bool // Close closes nc
	inbox    *inbox
	hedges   *hedges // nil for none
	sessions *sessions
	prefix   subjects.Prefix
	timeout  time.Duration
	retries  int
	closing  sync.Once
	done     chan struct{} // closed by Close

	mu       sync.Mutex
	revision Revision
	waiting  map[*waiter]struct{}
}

// Connect connects to the NATS server at url, which may name several servers
// separated by commas. If neither url nor config names one, it connects to
// nats://127.0.0.1:4222. A nil config is the zero Config. Connect fails if it can
// reach no server now. If the connection is lost later, the client restores it as
// long as it is open.
func Connect(url string, config *Config) (*Client, error) {
	var cfg Config
	if config != nil {
		cfg = *config
	}
	cfg = cfg.withDefaults()
	if err := cfg.check(url); err != nil {
		return nil, err
	}
	prefix, err := subjects.ParsePrefix(cfg.Prefix)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	sessions, err := newSessions(cfg.Clear, cfg.WireKey)
	if err != nil {
		return nil, err
	}
	c := &Client{
		nc:       cfg.Conn,
		owned:    cfg.Conn == nil,
		prefix:   prefix,
		timeout:  cfg.Timeout,
		retries:  cfg.Retries,
		hedges:   newHedges(cfg.Hedge),
		sessions: sessions,
		done:     make(chan struct{}),
		waiting:  make(map[*waiter]struct{}),
	}
	c.inbox = newInbox(c.closedConnection)
	if c.owned {
		if c.nc, err = c.dial(url, cfg); err != nil {
			return nil, err
		}
	}
	c.inbox.nc = c.nc
	return c, nil
}

// Close ends all commands and event streams under way with ErrClosed, and closes
// the connection unless Config gave it. It may be called twice.
func (c *Client) Close() {
	c.closing.Do(func() { close(c.done) })
	c.mu.Lock()
	c.interruptLocked(interruption{reason: ErrClosed}, func(*waiter) bool { return true })
	c.mu.Unlock()
	c.inbox.close()
	if c.owned {
		c.nc.Close()
	}
}

// Revision is the highest revision so far that a reply carried or Observe was given.
func (c *Client) Revision() Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revision
}

// Observe gives the client a revision that another client has seen: from now on,
// this client reads nothing older. Its text form, Revision.String and
// subjects.ParseRevision, carries it between processes. Pass only revisions that
// come from workers. No worker ever reaches a made-up one, so each later read of this
// client would have to go to the store.
func (c *Client) Observe(revision Revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision.Compare(c.revision) > 0 {
		c.revision = revision
	}
}

func (c *Client) dial(url string, cfg Config) (*nats.Conn, error) {
	hosts, err := hostsOf(url)
	if err != nil {
		return nil, err
	}
	options := []nats.Option{
		nats.Name(cfg.Name),
		nats.MaxReconnects(-1),
		// Credentials that have expired, or a user that is missing for a while, must
		// not end the client for good.
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		// While disconnected, nats.go would keep messages, in clear, and send them
		// at an unknown time. exchange repeats requests instead.
		nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(false),
	}
	options = append(options, cfg.NATSOptions...)
	options = append(options, c.handlers)

	if cfg.Context == "" {
		nc, err := nats.Connect(cmp.Or(url, nats.DefaultURL), options...)
		if err != nil {
			return nil, fmt.Errorf("client: connect to NATS at %s: %w", cmp.Or(hosts, nats.DefaultURL), explain(err))
		}
		return nc, nil
	}
	if url != "" {
		options = append(options, func(o *nats.Options) error {
			o.Servers = strings.Split(url, ",")
			return nil
		})
	}
	nc, _, err := natscontext.Connect(cfg.Context, options...)
	if err != nil {
		return nil, fmt.Errorf("client: connect to NATS with context %q: %w", cfg.Context, explain(err))
	}
	return nc, nil
}

// hostsOf returns the hosts of a list of URLs, which errors may show: user names
// may be tokens.
func hostsOf(urls string) (string, error) {
	if urls == "" {
		return "", nil
	}
	var hosts []string
	for text := range strings.SplitSeq(urls, ",") {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return "", errMalformedURL
		}
		hosts = append(hosts, u.Host)
	}
	return strings.Join(hosts, ","), nil
}

var errMalformedURL = errors.New("client: a NATS server's URL is malformed: write nats://HOST:PORT")

// explain adds what to do to the error of a connection.
func explain(err error) error {
	var parse *url.Error
	var network *net.OpError
	switch {
	case errors.As(err, &parse):
		return errMalformedURL // its text quotes the URL, password included
	case errors.Is(err, nats.ErrAuthorization):
		return fmt.Errorf("%w: check the user, password or credentials file, or name a nats context", err)
	case errors.Is(err, nats.ErrNoServers), errors.As(err, &network):
		return fmt.Errorf("%w: check the address, and that a NATS server runs there", err)
	}
	return err
}

// withTimeout gives ctx a deadline if it has none.
func (c *Client) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}
