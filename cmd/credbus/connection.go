package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"credbus/client"
	"credbus/internal/config"
	"credbus/internal/natsconn"
	"credbus/subjects"
)

// retries rides out a worker that restarts and, with pauses of 0.7 s in all,
// does not keep a person waiting for one that does not run.
const retries = 3

// localContext is the nats context that a worker with an embedded server
// keeps in its data directory for the clients of its machine.
const localContext = "client.json"

// connection is what the flags say about where to connect, and as whom.
type connection struct {
	nats    natsconn.Config
	dataDir string
	prefix  string
	timeout time.Duration
}

func (c *connection) register(flags *pflag.FlagSet) {
	flags.StringVarP(&c.nats.URL, "server", "s", "", "NATS server, or several separated by commas (NATS_URL)")
	flags.StringVar(&c.nats.Context, "context", "", "nats context, by name or by the path of its .json file (NATS_CONTEXT)")
	flags.StringVar(&c.nats.User, "user", "", "user, or a token when there is no password (NATS_USER)")
	flags.StringVar(&c.nats.Password, "password", "", "password; NATS_PASSWORD is safer, since process lists show flags")
	flags.StringVar(&c.nats.Creds, "creds", "", "credentials file (NATS_CREDS)")
	flags.StringVar(&c.nats.NKey, "nkey", "", "file with an nkey seed (NATS_NKEY)")
	flags.StringVar(&c.nats.Token, "token", "", "token; NATS_TOKEN is safer, since process lists show flags")
	flags.StringVar(&c.nats.TLS.CA, "tlsca", "", "PEM file of the authorities to trust (NATS_CA)")
	flags.StringVar(&c.nats.TLS.Cert, "tlscert", "", "PEM file of the client's certificate (NATS_CERT)")
	flags.StringVar(&c.nats.TLS.Key, "tlskey", "", "PEM file of the client's key (NATS_KEY)")
	flags.StringVar(&c.nats.InboxPrefix, "inbox-prefix", "", "what the subjects of replies begin with, instead of _INBOX")
	flags.StringVar(&c.dataDir, "data-dir", "", "data directory of a worker on this machine (CREDBUS_DATA_DIR)")
	flags.StringVar(&c.prefix, "prefix", "", "prefix of the workers' subjects (CREDBUS_NATS_PREFIX, default "+string(subjects.DefaultPrefix)+")")
	flags.DurationVar(&c.timeout, "timeout", client.DefaultTimeout, "how long to wait for a reply")
}

// dial connects to the first place that is named or found. It tries one only:
// a secret meant for one server must not go to the next because that one is
// down.
func (c *connection) dial(ctx context.Context) (*nats.Conn, error) {
	resolved, origin, err := c.resolve(os.Getenv)
	if err != nil {
		return nil, err
	}
	conn, err := natsconn.Connect(ctx, resolved)
	if err == nil {
		return conn, nil
	}
	err = fmt.Errorf("%w (tried %s)", err, origin)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case refused(err):
		return nil, as(errDenied, err)
	case unreachable(err):
		return nil, as(errNoServer, err)
	}
	return nil, usageError{err, "credbus"} // of flags, variables or files they name
}

// resolve is the configuration to connect with, and where it came from.
func (c *connection) resolve(getenv func(string) string) (resolved natsconn.Config, origin string, err error) {
	resolved = c.nats
	resolved.Name = "credbus command line"
	resolved.Flags = natsconn.CommandLine
	// What nats.go has to say beside results would only stand in the way.
	resolved.Logger = slog.New(slog.DiscardHandler)

	// A flag that names a context brings address and identity: variables,
	// which are weaker, must not send the one to the other.
	if c.nats.URL == "" && c.nats.Context != "" {
		return resolved, "--context", nil
	}
	if c.nats.URL == "" && c.dataDir != "" {
		if resolved.Context, err = filepath.Abs(filepath.Join(c.dataDir, localContext)); err != nil {
			return resolved, "", err
		}
		if _, err := os.Stat(resolved.Context); errors.Is(err, fs.ErrNotExist) {
			return resolved, "", as(errNoServer, fmt.Errorf("%s does not exist: no worker with a server of its own has run there", resolved.Context))
		}
		return resolved, "--data-dir", nil
	}
	flags := resolved
	resolved = resolved.WithEnviron(getenv)
	switch {
	case c.nats.URL != "":
		return resolved, "--server", nil
	case resolved.URL != "":
		return resolved, "NATS_URL", nil
	case resolved.Context != "":
		return resolved, "NATS_CONTEXT", nil
	}
	return findLocal(flags, resolved, getenv)
}

// findLocal is where to connect when nobody has said so. Of a worker that is found, the
// identity is that of its file or of flags: variables such as NATS_USER are of the servers
// that others named.
func findLocal(flags, resolved natsconn.Config, getenv func(string) string) (_ natsconn.Config, origin string, err error) {
	dir := getenv("CREDBUS_DATA_DIR")
	if dir == "" {
		dir, err = config.DefaultDataDir()
	}
	if err != nil { // without a home there is no local worker
		resolved.UseSelected = true
		return resolved, "the selected nats context or else the default address", nil
	}
	local, err := filepath.Abs(filepath.Join(dir, localContext))
	if err != nil {
		return resolved, "", err
	}
	if _, err := os.Stat(local); err == nil {
		flags.Context = local
		return flags, "what the worker of this machine has left in " + local, nil
	}
	resolved.UseSelected = true
	return resolved, "the selected nats context or else the default address, as NATS_URL and NATS_CONTEXT are not set and there is no " + local, nil
}

func (c *connection) client(conn *nats.Conn) (*client.Client, error) {
	return client.Connect("", &client.Config{
		Conn:    conn,
		Prefix:  cmp.Or(c.prefix, os.Getenv("CREDBUS_NATS_PREFIX")),
		Timeout: c.timeout,
		Retries: retries,
	})
}

// endOnDenial cancels what runs when NATS refuses a subject. NATS says so on
// the connection only, and a command that did not listen would wait for its
// whole timeout.
func endOnDenial(conn *nats.Conn, cancel context.CancelCauseFunc) {
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			cancel(err)
		}
	})
}

// denialIn is err, or what NATS refused if a context of endOnDenial ended for that.
// Where it refused a subscription, that of replies for example, what was sent is on
// its way, and err goes on to say so.
func denialIn(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || !errors.Is(cause, nats.ErrPermissionViolation) {
		return err
	}
	denied := as(errDenied, cause)
	if strings.Contains(cause.Error(), "Permissions Violation for Publish") {
		return denied
	}
	if unknown, ok := errors.AsType[*client.OutcomeUnknownError](err); ok {
		return &client.OutcomeUnknownError{RequestID: unknown.RequestID, Err: denied}
	}
	if unsure, ok := errors.AsType[*client.SubmitError](err); ok {
		return &client.SubmitError{Batch: unsure.Batch, Jobs: unsure.Jobs, Err: denied}
	}
	return denied
}
