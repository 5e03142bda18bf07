package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
	"credbus/subjects"
)

// Config describes the secrets, their Vault, and how to log in.
type Config struct {
	Address   string // https://vault.example:8200
	CA        string // PEM file of certificates to check the server's with; default those of the system
	Namespace string // of Vault Enterprise or OpenBao
	Mount     string // of a KV engine of version 2; default DefaultMount
	Path      string // below the mount; default DefaultPath

	Auth      string // token (default), approle or kubernetes
	AuthMount string // where the method is mounted; default its name

	Token     string // for token: either this
	TokenFile string // or a file that holds it, read at each login

	RoleID       string // for approle
	SecretID     string // either this, or none if the role needs none
	SecretIDFile string // or a file that holds it, read at each login

	Role    string // for kubernetes
	JWTFile string // the service account's token, read at each login; default DefaultJWTFile

	// Native keeps values as entries of a secret, as other programs read them,
	// instead of sealed records.
	Native bool

	Logger *slog.Logger // default slog.Default()
}

// Defaults of Config.
const (
	DefaultMount   = "secret"
	DefaultPath    = "credbus"
	DefaultJWTFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
)

// callTimeout bounds every call, and so the time between a writer's read and
// its write: see burial.go.
const callTimeout = 15 * time.Second

var errOverdue = fmt.Errorf("%w: Vault has not answered within %s", store.ErrTimeout, callTimeout)

// Store keeps records as secrets of a KV engine. It implements [store.Native],
// for any number of processes.
type Store struct {
	config  Config
	log     *slog.Logger
	session *session
	client  *api.Client // shared with session
	burial  burial
	cluster string // the ID of Vault's cluster, or ""
	mount   string // the UUID of the mount, or ""

	keepsRequests atomic.Bool // the server does not forward requests

	walks store.Walks[[]name]
	calls *store.Calls
}

var (
	_ store.Native     = (*Store)(nil)
	_ store.Consistent = (*Store)(nil)
	_ store.Identified = (*Store)(nil)
	_ store.Ordered    = (*Store)(nil)
)

// New logs in to Vault and checks that the store can work there: the server is
// unsealed, the mount is KV version 2, and the policy allows all requests. It
// returns within 2 seconds. The error names the setting to change.
func New(ctx context.Context, config Config) (*Store, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	s := &Store{config: config, log: config.Logger, burial: newBurial(), calls: store.NewCalls()}
	var err error
	if s.session, err = newSession(config, s.log); err != nil {
		return nil, err
	}
	s.client = s.session.client
	if err := s.check(ctx); err != nil {
		s.closeConnections()
		return nil, err
	}
	s.calls.Go(s.session.keep)
	s.calls.Go(s.bury)
	return s, nil
}

// Lag is the default for how long a read may return the state before an
// acknowledged write. Standbys that answer reads themselves (OpenBao from 2.5,
// performance standbys of Vault Enterprise) give no bound; replication takes
// milliseconds to seconds.
const Lag = 10 * time.Second

// Native implements [store.Native].
func (s *Store) Native(subjects.Scope) bool { return s.config.Native }

// begin admits a call. Its reads end with Close, its writes continue until they
// are answered: so ErrClosed means that a write had no effect. Both end after
// callTimeout. If err is nil, the caller must end the call with end.
func (s *Store) begin(parent context.Context) (reads, writes context.Context, end func(), err error) {
	writes, timeout := context.WithTimeoutCause(parent, callTimeout, errOverdue)
	reads, ended, err := s.calls.Begin(writes)
	if err != nil {
		timeout()
		return nil, nil, nil, err
	}
	return reads, writes, func() {
		ended()
		timeout()
	}, nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	if err := key.Check(); err != nil {
		return nil, err
	}
	ctx, _, end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	current, err := s.read(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case current.rec == nil:
		return nil, store.ErrNotFound
	case current.rec.Damaged != "":
		return nil, fmt.Errorf("%w: %s", store.ErrDamaged, current.rec.Damaged)
	}
	return current.rec, nil
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if err := rec.Target.Check(); err != nil {
		return "", err
	}
	reads, writes, end, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	read := func() (*store.Record, uint64, error) {
		current, err := s.settled(reads, rec.Target)
		current.wipe()
		return current.rec, current.number, err
	}
	return store.Replace(rec, pre, read, func(next *store.Record, number uint64) (string, error) {
		body, err := encode(next, s.config.Native, number+1)
		if err != nil {
			return "", err
		}
		made, err := s.write(writes, rec.Target, body)
		if err != nil {
			return "", s.overtaken(reads, err)
		}
		return made.version(), nil
	})
}

// If err says that another write was faster, or that a standby showed the state
// before it, overtaken waits a moment and returns store.ErrOvertaken. It
// returns other errors as they are.
func (s *Store) overtaken(ctx context.Context, err error) error {
	if !isOvertaken(err) {
		return err
	}
	const least, spread = 5 * time.Millisecond, 20 * time.Millisecond
	select {
	case <-time.After(least + rand.N(spread)):
		return store.ErrOvertaken
	case <-ctx.Done():
		return ended(ctx)
	}
}

// Delete implements [store.Store]. It destroys the earlier versions of the
// secret. Vault's metadata of it is removed about a minute later: see
// burial.go.
func (s *Store) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	if err := key.Check(); err != nil {
		return err
	}
	reads, writes, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	var current secret
	read := func() (_ *store.Record, number uint64, err error) {
		current, err = s.read(reads, key)
		current.wipe()
		return current.rec, current.number, err
	}
	err = store.Remove(pre, read, func(number uint64) error {
		tombstone, err := s.write(writes, key, encodeTombstone(deleted, number+1))
		if err != nil {
			return s.overtaken(reads, err)
		}
		s.burial.later(key)
		return s.destroy(writes, key, &tombstone)
	})
	if current.rec == nil && errors.Is(err, store.ErrNotFound) {
		return cmp.Or(s.deletedBefore(writes, key, &current), err)
	}
	return err
}

// deletedBefore completes an earlier delete that failed halfway, if there was
// one.
func (s *Store) deletedBefore(ctx context.Context, key subjects.Target, current *secret) error {
	switch {
	case s.burial.isDue(current):
		s.burial.at(key, time.Now())
	case current.deleted == deleted && current.age < s.burial.quiet-callTimeout: // too early for a burial
		return s.destroy(ctx, key, current)
	}
	return nil
}

// Close implements [store.Store].
func (s *Store) Close(ctx context.Context) error {
	return s.calls.Close(ctx, func() {
		s.closeConnections()
		s.walks.Close()
	})
}
