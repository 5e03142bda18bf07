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
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"credbus/client"
	"credbus/internal/config"
	"credbus/internal/natsconn"
	"credbus/subjects"
)

// retries is enough for a worker that restarts. The pauses are 0.7 s in all, so
// a user does not wait long if no worker runs.
const retries = 3

// localContext is the nats context that a worker with an embedded server
// keeps in its data directory for the clients of its machine.
const localContext = "client.json"

// connection holds the flags that say where to connect, and as which user.
type connection struct {
	nats    natsconn.Config
	dataDir string
	prefix  string
	wireKey string
	clear   *pflag.Flag
	timeout time.Duration
}

func (c *connection) register(flags *pflag.FlagSet) {
	flags.StringVarP(&c.nats.URL, "server", "s", "", "NATS server, or several separated by commas (NATS_URL)")
	flags.StringVar(&c.nats.Context, "context", "", "nats context, by name or by the path of its .json file (NATS_CONTEXT)")
	flags.StringVar(&c.nats.User, "user", "", "user, or a token if there is no password (NATS_USER)")
	flags.StringVar(&c.nats.Password, "password", "", "password; NATS_PASSWORD is safer, since process lists show flags")
	flags.StringVar(&c.nats.Creds, "creds", "", "credentials file (NATS_CREDS)")
	flags.StringVar(&c.nats.NKey, "nkey", "", "file with an nkey seed (NATS_NKEY)")
	flags.StringVar(&c.nats.Token, "token", "", "token; NATS_TOKEN is safer, since process lists show flags")
	flags.StringVar(&c.nats.TLS.CA, "tlsca", "", "PEM file of the certificate authorities to trust (NATS_CA)")
	flags.StringVar(&c.nats.TLS.Cert, "tlscert", "", "PEM file of the client's certificate (NATS_CERT)")
	flags.StringVar(&c.nats.TLS.Key, "tlskey", "", "PEM file of the client's key (NATS_KEY)")
	flags.StringVar(&c.nats.InboxPrefix, "inbox-prefix", "", "prefix of the subjects of replies, instead of _INBOX")
	flags.StringVar(&c.dataDir, "data-dir", "", "data directory of a worker on this machine (CREDBUS_DATA_DIR)")
	flags.StringVar(&c.prefix, "prefix", "", "prefix of the workers' subjects (CREDBUS_NATS_PREFIX, default "+string(subjects.DefaultPrefix)+")")
	flags.StringVar(&c.wireKey, "wire-key", "", "key of the workers, as credbus keys wire prints it, by which to tell them from others (CREDBUS_WIRE_KEY)")
	flags.Bool("clear", false, "do not seal requests and replies: operators of the NATS servers, and all who may listen there, can read them (CREDBUS_CLEAR=true)")
	c.clear = flags.Lookup("clear")
	flags.DurationVar(&c.timeout, "timeout", client.DefaultTimeout, "how long to wait for a reply")
}

// safer is how to give a secret that a flag would show in process lists.
var safer = []struct{ flag, instead string }{
	{"password", "set NATS_PASSWORD"},
	{"token", "set NATS_TOKEN"},
	{"user", "set NATS_TOKEN"},
	{"server", "leave the user out of the address, and set NATS_USER and NATS_PASSWORD"},
	{"value", "use --file, or give the value on stdin"},
	{"data", "use --data-file"},
}

// warnOfSecrets names the flags that hold a secret, since every user of the machine can list
// the flags of its processes.
func (p *program) warnOfSecrets(flags *pflag.FlagSet) {
	for _, s := range safer {
		shows := flags.Changed(s.flag)
		switch s.flag {
		case "user": // a token, if there is no password
			shows = shows && p.connection.nats.Password == "" && os.Getenv("NATS_PASSWORD") == ""
		case "server":
			shows = shows && natsconn.HasIdentity(p.connection.nats.URL)
		}
		if shows {
			p.say("process lists show the secret in --%s: %s", s.flag, s.instead)
		}
	}
}

// workerDir is the data directory of a worker of this machine.
func (c *connection) workerDir() (string, error) {
	if dir := cmp.Or(c.dataDir, os.Getenv("CREDBUS_DATA_DIR")); dir != "" {
		return dir, nil
	}
	return config.DefaultDataDir()
}

// dial connects to the first server that is named or found. It tries no other: if
// that server is down, a secret meant for it must not go to the next.
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
	// Messages of nats.go would only mix with the results.
	resolved.Logger = slog.New(slog.DiscardHandler)

	// A context named by a flag has both address and user. Variables are weaker
	// than flags: they must not replace only one of the two.
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

// findLocal is where to connect if neither flags nor variables name a server. If it finds a
// worker, the user comes from that worker's file or from flags: variables such as NATS_USER
// are for other servers.
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
		return flags, "the worker of this machine, by its file " + local, nil
	}
	resolved.UseSelected = true
	return resolved, "the selected nats context or else the default address, as NATS_URL and NATS_CONTEXT are not set and there is no " + local, nil
}

func (c *connection) client(conn *nats.Conn) (*client.Client, error) {
	inClear, err := c.inClear()
	if err != nil {
		return nil, usageError{err, "credbus"}
	}
	own, err := client.Connect("", &client.Config{
		Conn:    conn,
		Prefix:  cmp.Or(c.prefix, os.Getenv("CREDBUS_NATS_PREFIX")),
		Timeout: c.timeout,
		Retries: retries,
		Clear:   inClear,
		WireKey: cmp.Or(c.wireKey, os.Getenv("CREDBUS_WIRE_KEY")),
	})
	if err != nil { // only for settings, since the connection stands
		return nil, usageError{err, "credbus"}
	}
	return own, nil
}

// inClear reports whether requests are not to be sealed.
func (c *connection) inClear() (bool, error) {
	text := os.Getenv("CREDBUS_CLEAR")
	if c.clear.Changed || text == "" {
		return strconv.ParseBool(c.clear.Value.String())
	}
	inClear, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("CREDBUS_CLEAR is %q: set it to true or false", text)
	}
	return inClear, nil
}

// endOnDenial cancels the command if NATS refuses a subject. NATS reports that on
// the connection only: otherwise the command would wait for its whole timeout.
func endOnDenial(conn *nats.Conn, cancel context.CancelCauseFunc) {
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			cancel(err)
		}
	})
}

// denialIn returns err, or the refusal of NATS if endOnDenial cancelled ctx for it.
// If NATS refused a subscription, such as that for replies, a request may have been
// sent all the same, and the result still says so.
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
		return &client.SubmitError{Submission: unsure.Submission, Jobs: unsure.Jobs, Err: denied}
	}
	return denied
}
