package vault

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
	"credbus/subjects"
)

// Config says which secrets of which Vault, and how to log in.
type Config struct {
	Address   string // https://vault.example:8200
	CA        string // file of certificates in PEM that the server's is checked with; default those of the system
	Namespace string // of Vault Enterprise or OpenBao
	Mount     string // of a KV engine of version 2; default DefaultMount
	Path      string // below the mount; default DefaultPath

	Auth      string // token (default), approle or kubernetes
	AuthMount string // where the method is mounted; default its name

	Token     string // for token: either this
	TokenFile string // or a file that holds it, read at each login

	RoleID       string // for approle
	SecretID     string // either this, or none where the role wants none
	SecretIDFile string // or a file that holds it, read at each login

	Role    string // for kubernetes
	JWTFile string // the service account's token, read at each login; default DefaultJWTFile

	// Native keeps values as entries of a secret, as other programs read them,
	// in place of sealed records.
	Native bool

	Logger *slog.Logger // default slog.Default()
}

// Defaults of Config.
const (
	DefaultMount   = "secret"
	DefaultPath    = "credbus"
	DefaultJWTFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
)

// callTimeout bounds every call, and with it how long a writer holds on to what
// it has read: see burial.go.
const callTimeout = 15 * time.Second

var errOverdue = fmt.Errorf("%w: Vault has not answered within %s", store.ErrTimeout, callTimeout)

// Store keeps records as secrets of a KV engine. It implements [store.Native],
// for any number of processes.
type Store struct {
	config  Config
	log     *slog.Logger
	session *session
	client  *api.Client // of session
	burial  burial
	cluster string // the ID of Vault's, where it tells
	mount   string // the UUID of the mount, where Vault tells

	keepsRequests atomic.Bool // it does not forward those that ask for it

	walks store.Walks[[]name]
	calls *store.Calls
}

var (
	_ store.Native     = (*Store)(nil)
	_ store.Consistent = (*Store)(nil)
	_ store.Identified = (*Store)(nil)
	_ store.Ordered    = (*Store)(nil)
)

// New logs in to Vault and sees that the store can work there: that the server
// is unsealed, the mount is one of KV version 2, and the policy allows what is
// needed. It ends within 2 seconds. The error names the setting to change.
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

// Lag is for how long a read may answer what was before an acknowledged write, by
// default. Standbys that answer reads themselves (OpenBao from 2.5, performance
// standbys of Vault Enterprise) give no bound; replication takes milliseconds to
// seconds.
const Lag = 10 * time.Second

// Native implements [store.Native].
func (s *Store) Native(subjects.Scope) bool { return s.config.Native }

// begin admits a call, whose reads end with Close and whose writes go on until
// they are answered: with ErrClosed, a write surely had no effect. Both end
// after callTimeout. The caller ends the call with end when err is nil.
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
func (s *Store) Get(ctx context.Context, key store.Key) (*store.Record, error) {
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
	if err := rec.Key.Check(); err != nil {
		return "", err
	}
	reads, writes, end, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	for {
		current, err := s.settled(reads, rec.Key)
		if err != nil {
			return "", err
		}
		current.wipe()
		if current.sound() && current.rec.WriteID == rec.WriteID && rec.WriteID != "" { // others' writes have none
			return pre.Repeated(current.rec)
		}
		if err := pre.Check(current.rec); err != nil {
			return "", err
		}
		next := *rec
		if current.sound() {
			next.Created = current.rec.Created
		}
		body, err := encode(&next, s.config.Native, current.number+1)
		if err != nil {
			return "", err
		}
		made, err := s.write(writes, rec.Key, body)
		switch {
		case err == nil:
			return made.version(), nil
		case !isOvertaken(err):
			return "", err
		}
		if err := overtaken(reads); err != nil {
			return "", err
		}
	}
}

// overtaken waits a moment after another write was faster, or a standby showed what
// was before it.
func overtaken(ctx context.Context) error {
	const least, spread = 5 * time.Millisecond, 20 * time.Millisecond
	select {
	case <-time.After(least + rand.N(spread)):
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// Delete implements [store.Store]. The earlier versions of the secret are
// destroyed, and what Vault knows of it is removed about a minute later: see
// burial.go.
func (s *Store) Delete(ctx context.Context, key store.Key, pre store.Precondition) error {
	if err := key.Check(); err != nil {
		return err
	}
	reads, writes, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for {
		current, err := s.read(reads, key)
		if err != nil {
			return err
		}
		current.wipe()
		if err := pre.Check(current.rec); err != nil || current.rec == nil {
			return cmp.Or(s.deletedBefore(writes, key, &current), err, store.ErrNotFound)
		}
		tombstone, err := s.write(writes, key, encodeTombstone(deleted, current.number+1))
		switch {
		case err == nil:
			s.burial.later(key)
			return s.destroy(writes, key, &tombstone)
		case !isOvertaken(err):
			return err
		}
		if err := overtaken(reads); err != nil {
			return err
		}
	}
}

// deletedBefore ends what a delete that failed halfway has left, if there was one.
func (s *Store) deletedBefore(ctx context.Context, key store.Key, current *secret) error {
	switch {
	case s.burial.isDue(current):
		s.burial.at(key, time.Now())
	case current.deleted == deleted && current.age < s.burial.quiet-callTimeout: // no burial comes between
		return s.destroy(ctx, key, current)
	}
	return nil
}

// Close implements [store.Store]. Calls under way give up, unless they wait for
// the answer to a write; it waits until all have returned.
func (s *Store) Close() error {
	if s.calls.Close() {
		s.closeConnections()
	}
	s.walks.Close()
	return nil
}
