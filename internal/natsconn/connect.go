package natsconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"
)

// ConnectTimeout bounds Connect, including name resolution and every address. A
// program that must report a wrong setting within 2 s has time left to start and to
// report it.
const ConnectTimeout = 1500 * time.Millisecond

// reconnectWait is the pause before the same server is tried again. A random time of up
// to as much again (up to twice with TLS) is added, so that the clients of a restarted
// server do not all come at once.
const reconnectWait = 500 * time.Millisecond

// A silent peer is detected within pingInterval times maxPingsOut.
const (
	pingInterval = 5 * time.Second
	maxPingsOut  = 2
)

// Connect connects, or says within ConnectTimeout what to change. The connection
// reconnects without end and logs when it is lost and back. While it is down it buffers
// nothing: a command sent late is worse than one refused. Its handlers do the logging,
// so do not replace them: watch StatusChanged instead.
func Connect(ctx context.Context, config Config) (*nats.Conn, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()

	var servers atomic.Pointer[[]string] // known late if they come from the context
	var nothingSelected atomic.Bool
	options := append(config.options(), func(o *nats.Options) error {
		known := o.Servers
		if config.Context == "" && strings.Join(known, "") == "" {
			known = []string{nats.DefaultURL} // as nats.go does
			nothingSelected.Store(o.User == "" && o.Token == "" && o.Nkey == "" && o.UserJWT == nil)
		}
		servers.Store(&known)
		return nil
	})
	type result struct {
		conn *nats.Conn
		err  error
	}
	// nats.go takes no context, so it runs in a goroutine that is abandoned when time is
	// up. A connection that it makes after that is closed.
	results := make(chan result)
	go func() {
		conn, err := config.dial(options)
		select {
		case results <- result{conn, err}:
		case <-limited.Done():
			if conn != nil {
				conn.Close()
			}
		}
	}()

	var err error
	select {
	case r := <-results:
		if r.err == nil {
			return r.conn, nil
		}
		err = r.err
	case <-limited.Done():
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		err = limited.Err()
	}
	target := config.URL
	if known := servers.Load(); known != nil {
		target = strings.Join(*known, ",")
	}
	if nothingSelected.Load() {
		config.UseSelected = false // an error that names the context would mislead
	}
	return nil, config.explain(RedactURL(target), err)
}

func (c Config) dial(options []nats.Option) (*nats.Conn, error) {
	if !c.usesContext() {
		return nats.Connect(nats.DefaultURL, options...)
	}
	// Our options come after those of the context, and so override them.
	conn, _, err := natscontext.Connect(c.Context, options...)
	return conn, err
}

func (c Config) options() []nats.Option {
	options := []nats.Option{
		nats.Timeout(ConnectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, 2*reconnectWait),
		// A user that is missing while a server's configuration changes must not end
		// the process for good.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.PermissionErrOnSubscribe(true), // a refused subscription returns the error to its reader
		nats.MaxPingsOutstanding(maxPingsOut),
	}
	if c.Name != "" {
		options = append(options, nats.Name(c.Name))
	}
	if c.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	options = append(options, c.identity()...)
	if c.TLS.CA != "" {
		options = append(options, c.named("tls.ca", "NATS_CA", nats.RootCAs(c.TLS.CA)))
	}
	if c.TLS.Cert != "" {
		options = append(options, c.named("tls.cert", "NATS_CERT", nats.ClientCert(c.TLS.Cert, c.TLS.Key)))
	}
	options = append(options, c.logging()...)
	return append(options, c.servers)
}

// servers uses the address of c instead of the context's. It divides the time for TCP
// among the addresses, so that a dead first one leaves time for the next. The handshake
// that follows may still use all of the time.
func (c Config) servers(o *nats.Options) error {
	if c.URL != "" {
		o.Servers = nil
		for address := range strings.SplitSeq(c.URL, ",") {
			o.Servers = append(o.Servers, strings.TrimSpace(address))
		}
	}
	if c.RequireTLS {
		for _, address := range o.Servers {
			o.Secure = o.Secure || !onThisMachine(address)
		}
		// Servers of this machine may be in clear. What they announce may be elsewhere.
		o.IgnoreDiscoveredServers = o.IgnoreDiscoveredServers || !o.Secure
	}
	if o.CustomDialer == nil {
		o.Dialer = &net.Dialer{Timeout: ConnectTimeout * 9 / 10 / time.Duration(max(1, len(o.Servers)))}
	}
	return nil
}

// onThisMachine reports whether an address, as written, is one of this machine.
func onThisMachine(address string) bool {
	if !strings.Contains(address, "://") {
		address = "nats://" + address
	}
	u, err := url.Parse(address)
	return err == nil && Loopback(u.Hostname())
}

// Loopback reports whether a host, a name or an address, is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// identity returns the options that say who connects. If c has an identity of its own,
// the first option forgets that of the context.
func (c Config) identity() []nats.Option {
	var own nats.Option
	switch {
	case c.User != "" && c.Password == "":
		own = nats.Token(c.User)
	case c.User != "":
		own = nats.UserInfo(c.User, c.Password)
	case c.Creds != "":
		own = c.named("creds", "NATS_CREDS", nats.UserCredentials(c.Creds))
	case c.NKey != "":
		own = c.named("nkey", "NATS_NKEY", func(o *nats.Options) error {
			option, err := nats.NkeyOptionFromSeed(c.NKey)
			if err != nil {
				return err
			}
			return option(o)
		})
	case c.Token != "":
		own = nats.Token(c.Token)
	case HasIdentity(c.URL):
		// The address has the identity in it.
	default:
		return nil
	}
	forget := func(o *nats.Options) error {
		o.User, o.Password, o.Token, o.Nkey = "", "", "", ""
		o.UserJWT, o.SignatureCB = nil, nil
		return nil
	}
	return []nats.Option{forget, own} // nats.go skips a nil option
}

// named adds the name of the setting to an option's error.
func (c Config) named(flag, variable string, option nats.Option) nats.Option {
	return func(o *nats.Options) error {
		if err := option(o); err != nil {
			return fmt.Errorf("%s: %w", c.setting(flag, variable), err)
		}
		return nil
	}
}

func (c Config) logging() []nats.Option {
	log := c.Logger
	return []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil when the program itself closes
				log.Warn("NATS connection lost, reconnecting", "error", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Debug("NATS reconnect failed, trying again", "error", err)
		}),
		nats.ReconnectHandler(func(conn *nats.Conn) {
			log.Info("NATS connection is back", "server", RedactURL(conn.ConnectedUrl()))
		}),
		nats.LameDuckModeHandler(func(conn *nats.Conn) {
			log.Info("NATS server is about to shut down", "server", RedactURL(conn.ConnectedUrl()))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { c.logAsync(sub, err) }),
	}
}

// logAsync logs what nats.go reports outside of any call.
func (c Config) logAsync(sub *nats.Subscription, err error) {
	log := c.Logger
	attrs := []any{"error", err}
	if sub != nil {
		attrs = append(attrs, "subject", sub.Subject)
	}
	if refusesIdentity(strings.ToLower(err.Error())) {
		log.Error("the NATS server no longer accepts "+c.identityText(), attrs...)
		return
	}
	if !errors.Is(err, nats.ErrSlowConsumer) {
		log.Error("NATS reported an error", attrs...)
		return
	}
	if sub != nil {
		// Both fail only for a subscription that has ended meanwhile.
		if pending, _, err := sub.Pending(); err == nil {
			attrs = append(attrs, "pending", pending)
		}
		if dropped, err := sub.Dropped(); err == nil {
			attrs = append(attrs, "dropped", dropped)
		}
	}
	log.Warn("NATS subscription is too slow, messages are dropped", attrs...)
}
