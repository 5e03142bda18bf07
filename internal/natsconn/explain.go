package natsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
)

// explain says what to change after the first connection failed. target is the address
// without secrets.
func (c Config) explain(target string, err error) error {
	address := c.setting("url", "NATS_URL")
	if c.URL == "" && c.usesContext() {
		address = c.contextText() + " or " + address
	}
	var (
		badURL    *url.Error
		unknown   *net.DNSError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		notTLS    tls.RecordHeaderError
		network   net.Error
	)
	text := strings.ToLower(err.Error())
	switch {
	case errors.As(err, &badURL):
		return c.malformed(address)
	case strings.Contains(text, "unknown context"), strings.Contains(text, "invalid context name"):
		return fmt.Errorf("connect to NATS: there is no nats context %q: \"nats context ls\" lists them; check %s",
			c.Context, c.setting("context", "NATS_CONTEXT"))
	case refusesIdentity(text):
		return fmt.Errorf("connect to NATS at %s: the server refused %s: %w", target, c.identityText(), err)
	case c.URL == "" && !c.usesContext() && errors.Is(err, nats.ErrNoServers):
		return silent{fmt.Sprintf("connect to NATS: no server is named, and none listens at %s", target), err}
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("connect to NATS: no server listens at %s: start one there, or check %s: %w", target, address, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("connect to NATS: host %q is unknown: check %s: %w", unknown.Name, address, err)
	case errors.Is(err, nats.ErrSecureConnWanted) && c.RequireTLS:
		return fmt.Errorf("connect to NATS at %s: the server does not offer TLS, which security.require_tls wants: enable TLS in the server: %w", target, err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("connect to NATS at %s: the server does not offer TLS: drop tls:// and %s, %s and %s, "+
			"or enable TLS in the server: %w", target, c.setting("tls.ca", "NATS_CA"), c.setting("tls.cert", "NATS_CERT"), c.setting("tls.key", "NATS_KEY"), err)
	case errors.As(err, &authority):
		return fmt.Errorf("connect to NATS at %s: an unknown authority signed the server's certificate: name the authority's file with %s: %w",
			target, c.setting("tls.ca", "NATS_CA"), err)
	case errors.As(err, &hostname):
		return fmt.Errorf("connect to NATS at %s: the server's certificate is for another host: use a name from the certificate in %s: %w", target, address, err)
	case strings.Contains(text, "certificate required"), strings.Contains(text, "bad certificate"), strings.Contains(text, "unknown certificate authority"),
		errors.Is(err, nats.ErrTLS) && strings.Contains(text, "closed by remote after tls handshake"):
		// With TLS 1.3 a client learns this after its handshake, and the connection may
		// end before the reason arrives.
		return fmt.Errorf("connect to NATS at %s: the server wants a client certificate that it trusts: set %s and %s: %w",
			target, c.setting("tls.cert", "NATS_CERT"), c.setting("tls.key", "NATS_KEY"), err)
	case errors.As(err, &notTLS), errors.Is(err, nats.ErrNoInfoReceived), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("connect to NATS: the program that listens at %s does not answer as a NATS server: check %s: %w", target, address, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("connect to NATS: no answer from %s within %v: check %s, and firewalls between: %w", target, ConnectTimeout, address, err)
	case c.usesContext() && (target == "" || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission)):
		// The context's file, or a file that it names, cannot be read.
		return fmt.Errorf("connect to NATS with %s: %w", c.contextText(), err)
	default:
		return fmt.Errorf("connect to NATS at %s: %w", target, err)
	}
}

// silent replaces the text of err, but still unwraps to it.
type silent struct {
	text string
	err  error
}

func (s silent) Error() string { return s.text }
func (s silent) Unwrap() error { return s.err }

// refusesIdentity reports whether text, in any of the server's wordings, says that it
// does not accept the credentials.
func refusesIdentity(text string) bool {
	for _, wording := range []string{"authorization violation", "authentication expired", "authentication revoked", "nkeys not supported"} {
		if strings.Contains(text, wording) {
			return true
		}
	}
	return false
}

// identityText names what the server refused, and the setting to check.
func (c Config) identityText() string {
	switch {
	case c.User != "" && c.Password == "":
		return "the token set as " + c.setting("user", "NATS_USER") + " without a password"
	case c.User != "":
		return fmt.Sprintf("user %q and the password: check %s and %s", c.User,
			c.setting("user", "NATS_USER"), c.setting("password", "NATS_PASSWORD"))
	case c.Creds != "":
		return "the credentials file " + c.Creds + ": check " + c.setting("creds", "NATS_CREDS")
	case c.NKey != "":
		return "the nkey of " + c.NKey + ": check " + c.setting("nkey", "NATS_NKEY")
	case c.Token != "":
		return "the token: check " + c.setting("token", "NATS_TOKEN")
	case HasIdentity(c.URL):
		return "the user in the address: check " + c.setting("url", "NATS_URL")
	case c.usesContext():
		return "the user of " + c.contextText() + ": check that file, or set " + c.setting("creds", "NATS_CREDS")
	default:
		return "a connection without credentials: set " + c.setting("creds", "NATS_CREDS") + ", " +
			c.setting("user", "NATS_USER") + " with a password, or " + c.setting("context", "NATS_CONTEXT")
	}
}

func (c Config) usesContext() bool { return c.Context != "" || c.UseSelected }

func (c Config) contextText() string {
	if c.Context == "" {
		return "the selected nats context"
	}
	return "nats context " + c.Context
}
