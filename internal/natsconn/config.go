package natsconn

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Config says where to connect and as whom. Its zero value connects to
// nats://127.0.0.1:4222 without credentials.
type Config struct {
	// URL is one address or several, separated by commas.
	URL string
	// Context is the name of a nats context or, if it ends in .json, the path of a
	// context file.
	Context string
	// UseSelected takes the context that "nats context select" chose, if any, when
	// Context is empty.
	UseSelected bool

	// The identity. As for the nats command, a User without Password is a token. Of
	// several identities, the first in this order is used.
	User     string
	Password string
	Creds    string // path of a credentials file
	NKey     string // path of a file with an nkey seed
	Token    string

	TLS TLS

	// RequireTLS refuses servers on other machines that do not offer TLS.
	RequireTLS bool

	// InboxPrefix replaces _INBOX in the subjects for replies.
	InboxPrefix string
	// Name is shown for this connection in the server's monitoring.
	Name   string
	Logger *slog.Logger // slog.Default() when nil
	// Flags is how the program spells its flags, for errors that name one: like the
	// worker (--nats.url, --nats.tls.ca) unless it is CommandLine.
	Flags Flags
}

// TLS names PEM files. All may be empty: a server that asks for TLS gets it.
type TLS struct {
	CA   string // authorities to trust instead of the system's
	Cert string // client certificate; needs Key
	Key  string
}

// WithEnviron fills empty fields of c from the variables that the nats command reads.
func (c Config) WithEnviron(getenv func(string) string) Config {
	c.URL = cmp.Or(c.URL, getenv("NATS_URL"))
	c.Context = cmp.Or(c.Context, getenv("NATS_CONTEXT"))
	c.TLS.CA = cmp.Or(c.TLS.CA, getenv("NATS_CA"))
	c.TLS.Cert = cmp.Or(c.TLS.Cert, getenv("NATS_CERT"))
	c.TLS.Key = cmp.Or(c.TLS.Key, getenv("NATS_KEY"))
	switch {
	case c.Creds != "" || c.NKey != "" || c.Token != "":
		// A stronger identity is set: that of the environment is not mixed in.
	case c.User != "" || c.Password != "":
		c.User = cmp.Or(c.User, getenv("NATS_USER"))
		c.Password = cmp.Or(c.Password, getenv("NATS_PASSWORD"))
	default:
		c.User = getenv("NATS_USER")
		c.Password = getenv("NATS_PASSWORD")
		c.Creds = getenv("NATS_CREDS")
		c.NKey = getenv("NATS_NKEY")
		c.Token = getenv("NATS_TOKEN")
	}
	return c
}

// Flags is a way to spell flags.
type Flags int

// CommandLine is how credbus spells its flags: --server, --tlsca.
const CommandLine Flags = 1

// Spell returns the flag that sets a part of Config. name is that of the worker's
// setting: url, tls.ca.
func (f Flags) Spell(name string) string {
	switch group, rest, _ := strings.Cut(name, "."); {
	case f != CommandLine:
		return "--nats." + name
	case name == "url":
		return "--server"
	case group == "tls":
		return "--tls" + rest
	default:
		return "--" + name
	}
}

func (c Config) withDefaults() Config {
	c.Logger = cmp.Or(c.Logger, slog.Default())
	if strings.HasSuffix(c.Context, ".json") {
		// natscontext takes only an absolute path for a file. Abs fails only if there is
		// no working directory; then the path does not open either.
		if path, err := filepath.Abs(c.Context); err == nil {
			c.Context = path
		}
	}
	return c
}

// setting names a flag together with the variable for the same setting.
func (c Config) setting(flag, variable string) string {
	return c.Flags.Spell(flag) + " (" + variable + ")"
}

// check finds mistakes that show before anything is sent.
func (c Config) check() error {
	switch {
	case strings.Contains(c.Context, "://"):
		return fmt.Errorf("%s holds an address: it takes the name or file of a nats context; set the address with %s",
			c.setting("context", "NATS_CONTEXT"), c.setting("url", "NATS_URL"))
	case c.Password != "" && c.User == "":
		return fmt.Errorf("a password is given without a user: set %s", c.setting("user", "NATS_USER"))
	case (c.TLS.Cert == "") != (c.TLS.Key == ""):
		return fmt.Errorf("a client certificate needs both of %s and %s",
			c.setting("tls.cert", "NATS_CERT"), c.setting("tls.key", "NATS_KEY"))
	}
	for address := range strings.SplitSeq(c.URL, ",") {
		// A secret with a / or # that is not encoded would be taken for the host, and be looked up.
		if HasIdentity(address) && !encoded(address) {
			return c.malformed(c.setting("url", "NATS_URL"))
		}
	}
	var problems []error
	for _, file := range []struct{ path, flag, variable string }{
		{c.Creds, "creds", "NATS_CREDS"},
		{c.NKey, "nkey", "NATS_NKEY"},
		{c.TLS.CA, "tls.ca", "NATS_CA"},
		{c.TLS.Cert, "tls.cert", "NATS_CERT"},
		{c.TLS.Key, "tls.key", "NATS_KEY"},
	} {
		if file.path == "" {
			continue
		}
		if err := readable(file.path); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", c.setting(file.flag, file.variable), err))
		}
	}
	return errors.Join(problems...)
}

// encoded reports whether what is before the @ of an address is a user or token.
func encoded(address string) bool {
	if address = strings.TrimSpace(address); !strings.Contains(address, "://") {
		address = "nats://" + address
	}
	u, err := url.Parse(address)
	return err == nil && u.User != nil
}

// malformed does not quote the address, which may have a password.
func (c Config) malformed(setting string) error {
	return fmt.Errorf("connect to NATS: the address is malformed: write nats://host:port, several separated by commas, "+
		"and percent-encode special characters of a user or password: check %s", setting)
}

func readable(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return file.Close()
}
