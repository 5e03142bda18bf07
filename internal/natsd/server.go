package natsd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"

	"credbus/internal/lifecycle"
	"credbus/internal/tenancy/users"
	"credbus/subjects"
)

// Defaults of Config's zero values.
const (
	DefaultHost = "127.0.0.1"
	DefaultPort = 4222
)

// RandomPort asks for any free port.
const RandomPort = -1

// serverName is fixed, because JetStream keeps state under a hash of it.
const serverName = "credbus"

// readyTimeout bounds the wait for a listener that Start has already opened.
const readyTimeout = 5 * time.Second

// Names in the data directory.
const (
	lockName      = "worker.lock"
	jetStreamName = "jetstream"
)

// maxPending is how many bytes are kept for a connection whose client does not read
// them; beyond that the connection is closed. They are in the worker's memory, so this is
// less than nats-server's own default of 64 MiB. With 16 MiB, 256 requests of 1 MiB at once
// closed the worker's own connection, one time in four.
const maxPending = 32 << 20

// Config is what Start needs. All but Dir may be left zero.
type Config struct {
	Dir    string          // data directory; created with mode 0700 if missing
	Host   string          // address to listen on; DefaultHost when empty
	Port   int             // DefaultPort when zero; RandomPort for any free one
	Prefix subjects.Prefix // of every subject; subjects.DefaultPrefix when empty
	// MaxPayload is the largest message in bytes; zero is nats-server's own
	// default of 1 MiB.
	MaxPayload int
	// Reserve is the free disk space, in bytes, below which streams take no more;
	// DefaultReserve when zero.
	Reserve int64
	Logger  *slog.Logger // slog.Default() when nil
	// LookEvery is how often the list of tenants is looked at; DefaultLook when zero.
	LookEvery time.Duration
}

func (c Config) withDefaults() Config {
	c.Host = cmp.Or(c.Host, DefaultHost)
	c.Port = cmp.Or(c.Port, DefaultPort)
	c.Prefix = cmp.Or(c.Prefix, subjects.DefaultPrefix)
	c.Reserve = cmp.Or(c.Reserve, DefaultReserve)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.LookEvery = cmp.Or(c.LookEvery, DefaultLook)
	return c
}

func (c Config) check() error {
	switch {
	case c.Dir == "":
		return errors.New("the embedded NATS server needs a data directory: set --data-dir (CREDBUS_DATA_DIR)")
	case c.Port < RandomPort || c.Port > 65535:
		return fmt.Errorf("port %d of the embedded NATS server is not 1 to 65535: set --nats.port (CREDBUS_NATS_PORT)", c.Port)
	case c.MaxPayload < 0 || c.MaxPayload > server.MAX_PAYLOAD_MAX_SIZE:
		return fmt.Errorf("maximum payload of %d bytes is not 0 to %d", c.MaxPayload, server.MAX_PAYLOAD_MAX_SIZE)
	}
	return nil
}

// Server is a running NATS server.
type Server struct {
	dir     string
	prefix  subjects.Prefix
	address string // host:port that clients of this machine connect to
	nats    *server.Server
	own     []*server.User // the worker and its client
	users   *authenticator
	guard   *guard
	guards  lifecycle.Group
	lock    *flock.Flock
	life    lifecycle.Part
}

// Start runs a server and returns once it accepts connections and both
// context files stand. It fails, and leaves nothing running, when ctx ends,
// when another process uses the directory, when the port is taken, or when
// somebody else may read the passwords; the error says what to do.
func Start(ctx context.Context, config Config) (*Server, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", config.Dir, err)
	}
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, prefix: config.Prefix, lock: lock}
	if err := s.start(ctx, config); err != nil {
		return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, config Config) error {
	worker, err := users.LoadOrGenerate(s.WorkerContext(), "worker", "the worker itself; it may do anything")
	if err != nil {
		return err
	}
	client, err := users.LoadOrGenerate(s.ClientContext(), "client", "clients of the worker on this machine; they may use credbus, but not see streams and buckets: use worker.json for those")
	if err != nil {
		return err
	}
	if s.own, err = ownUsers(config.Prefix, worker, client); err != nil {
		return err
	}
	look, err := s.look()
	if err != nil {
		return err
	}
	tenants, err := s.tenantUsers(look.tenants)
	if err != nil {
		return err
	}
	s.users = newAuthenticator(append(tenants, s.own...))
	options := serverOptions(s.dir, config)
	options.CustomClientAuthentication = s.users
	if s.nats, err = server.NewServer(options); err != nil {
		return fmt.Errorf("embedded NATS server: %w", err)
	}
	log := &logger{log: config.Logger.With("component", "nats-server")}
	s.nats.SetLogger(log, config.Logger.Enabled(ctx, slog.LevelDebug), false)

	// Start returns with the listener open, or with a fatal line logged.
	s.nats.Start()
	if err := log.fatal(); err != nil {
		return startError(config, err)
	}
	if !s.nats.ReadyForConnections(readyTimeout) {
		return fmt.Errorf("embedded NATS server: not ready after %v", readyTimeout)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.guard, err = newGuard(s.dir, config.Reserve, s.nats, log.log); err != nil {
		return fmt.Errorf("embedded NATS server: %w", err)
	}
	s.guards.Go(s.guard.run)
	s.address = reachable(config.Host, s.nats.Addr())
	s.guards.Go(func(ctx context.Context) { s.followTenants(ctx, config.LookEvery, look, log.log) })
	if err := users.Move(ctx, s.dir, s.URL(), look.tenants); err != nil { // their programs may have a copy
		log.log.Warn("the address in the contexts of some tenants is not current", "error", err)
	}
	return errors.Join(worker.Save(s.URL()), client.Save(s.URL()))
}

// URL is the address at which programs of this machine reach the server.
func (s *Server) URL() string { return "nats://" + s.address }

// WorkerContext is the path of the nats context of the worker's user.
func (s *Server) WorkerContext() string { return filepath.Join(s.dir, users.WorkerName) }

// ClientContext is the path of the nats context of the client's user.
func (s *Server) ClientContext() string { return ClientContext(s.dir) }

// ClientContext is where a server that uses dir keeps the nats context for clients. The
// server need not run.
func ClientContext(dir string) string { return filepath.Join(dir, users.ClientName) }

// Full reports whether the disk has no room for the streams, so that they store nothing.
func (s *Server) Full() bool { return s.guard.full.Load() }

// Close ends the server, waits until its streams are closed, and frees the directory, as
// package lifecycle says.
func (s *Server) Close(ctx context.Context) error { return s.life.Close(ctx, s.shutdown) }

func (s *Server) shutdown(context.Context) error {
	s.guards.Stop()
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
	return s.lock.Unlock()
}

// ownUsers are the users that every server has.
func ownUsers(prefix subjects.Prefix, worker, client *users.Credentials) ([]*server.User, error) {
	workerHash, err := worker.Hash()
	if err != nil {
		return nil, err
	}
	clientHash, err := client.Hash()
	if err != nil {
		return nil, err
	}
	permissions, err := clientPermissions(prefix)
	if err != nil {
		return nil, err
	}
	return []*server.User{
		{Username: worker.User, Password: workerHash},
		{Username: client.User, Password: clientHash, Permissions: permissions},
	}, nil
}

func serverOptions(dir string, config Config) *server.Options {
	return &server.Options{
		ServerName: serverName,
		Host:       config.Host,
		Port:       config.Port,
		MaxPayload: int32(config.MaxPayload),
		MaxPending: maxPending,
		NoSigs:     true, // signals belong to the worker
		JetStream:  true,
		StoreDir:   dir, // nats-server adds jetStreamName
		SyncAlways: true,

		JetStreamMaxStore: maxStore,
	}
}

// prepareDir creates the data directory, and below it the directory for what clients
// send. Nobody else may read the latter.
func prepareDir(dir string) error {
	streams := filepath.Join(dir, jetStreamName)
	if err := os.MkdirAll(streams, 0o700); err != nil {
		return fmt.Errorf("data directory: %w: choose another with --data-dir (CREDBUS_DATA_DIR)", err)
	}
	if runtime.GOOS == "windows" {
		return nil // access follows the profile directory's ACL, not modes
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if mode := info.Mode(); mode&0o002 != 0 && mode&os.ModeSticky == 0 {
		return fmt.Errorf("data directory %s may be written by every user of this machine: run chmod 700 %s", dir, dir)
	}
	if err := os.Chmod(streams, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// lockDir locks the directory for this process.
func lockDir(dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock of data directory %s: %w", dir, err)
	}
	if locked {
		return lock, nil
	}
	return nil, fmt.Errorf("data directory %s is in use by another process: to run another worker beside it, "+
		"on the same credentials, join its NATS server with --nats.context %s",
		dir, filepath.Join(dir, users.WorkerName))
}

// startError adds what to change to a fatal error of nats-server.
func startError(config Config, err error) error {
	address := net.JoinHostPort(config.Host, strconv.Itoa(config.Port))
	var listen *net.OpError
	switch {
	case !errors.As(err, &listen):
		return fmt.Errorf("embedded NATS server: %w", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("embedded NATS server: %s is taken by another program: choose another port with "+
			"--nats.port (CREDBUS_NATS_PORT), or, when a NATS server runs there, join it with --nats.url nats://%s: %w",
			address, address, listen.Err)
	default:
		return fmt.Errorf("embedded NATS server: cannot listen on %s: set --nats.host (CREDBUS_NATS_HOST) and "+
			"--nats.port (CREDBUS_NATS_PORT), or join a running NATS server with --nats.url: %w", address, listen.Err)
	}
}

// reachable turns a listening address into one to connect to: a server that listens on
// all addresses is reached through loopback.
func reachable(host string, addr net.Addr) string {
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = DefaultHost
		if ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(addr.(*net.TCPAddr).Port))
}
