package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"credbus/internal/store"
	"credbus/subjects"
)

// DefaultName is the name of a Config that has none.
const DefaultName = "credbus"

// Config says which namespace of which cluster.
type Config struct {
	// Namespace holds the Secrets. It must exist. Default: that of the pod, or
	// of the kubeconfig's context.
	Namespace string
	// Kubeconfig is a file, or several as in the variable KUBECONFIG. Default:
	// the service account of the pod; outside of one, .kube/config in the home.
	Kubeconfig string
	// Context is one of the kubeconfig; default its current one.
	Context string
	// Name begins the name of every Secret and is its label credbus.io/store, so
	// that several stores may share a namespace; a DNS label. Default DefaultName.
	Name string
	// Native keeps values as the data of a Secret, for pods and people to read
	// and write. Otherwise a Secret holds a sealed record.
	Native bool
	// Logger is told what the API server warns of. Default: slog.Default().
	Logger *slog.Logger
}

// Store keeps records as Secrets. It implements [store.Watcher],
// [store.Native] and [store.Identified], for any number of processes.
type Store struct {
	config    Config
	api       *api
	namespace string
	server    string // and
	user      string // for people
	watchTime time.Duration

	uid          atomic.Pointer[string] // of the namespace, as Identity found it last
	unidentified sync.Once              // warned that it found none

	calls *store.Calls
}

var (
	_ store.Watcher = (*Store)(nil)
	_ store.Native  = (*Store)(nil)

	_ store.Identified = (*Store)(nil)
)

// New asks the API server whether this worker may do all that a store does, and
// tries to create a Secret without doing so. It ends within 2 seconds; its error
// says what to change.
func New(ctx context.Context, config Config) (*Store, error) {
	if config.Name == "" {
		config.Name = DefaultName
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if broken := validation.IsDNS1123Label(config.Name); len(broken) > 0 {
		return nil, fmt.Errorf("name %q (store.kubernetes.name): %s", config.Name, strings.Join(broken, ", "))
	}
	account, err := config.account()
	if err != nil {
		return nil, err
	}
	if config.Namespace == "" {
		config.Namespace = account.namespace
	}
	if broken := validation.IsDNS1123Label(config.Namespace); len(broken) > 0 {
		return nil, fmt.Errorf("namespace %q (store.kubernetes.namespace): %s", config.Namespace, strings.Join(broken, ", "))
	}
	s := &Store{config: config, namespace: config.Namespace, server: account.config.Host, user: account.user, watchTime: watchTime, calls: store.NewCalls()}
	if s.api, err = newAPI(adapt(account.config, config.Logger), s.namespace); err != nil {
		return nil, fmt.Errorf("%s does not make a client (store.kubernetes.kubeconfig): %w", account.user, err)
	}
	if err := s.check(ctx); err != nil {
		s.api.closeIdle()
		return nil, err
	}
	return s, nil
}

// Native implements [store.Native].
func (s *Store) Native(subjects.Scope) bool { return s.config.Native }

// Get implements [store.Store]. The API server answers it from a quorum of
// etcd, never from a cache that may be behind.
func (s *Store) Get(ctx context.Context, key store.Key) (*store.Record, error) {
	if err := key.Check(); err != nil {
		return nil, err
	}
	ctx, end, err := s.calls.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	rec, _, err := s.whole(ctx, s.nameOf(key))
	switch {
	case err != nil:
		return nil, err
	case rec == nil:
		return nil, store.ErrNotFound
	case rec.Damaged != "":
		return nil, fmt.Errorf("%w: %s", store.ErrDamaged, rec.Damaged)
	}
	return rec, nil
}

// Put implements [store.Store].
func (s *Store) Put(caller context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if err := rec.Key.Check(); err != nil {
		return "", err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return "", err
	}
	defer end()
	for {
		current, meta, err := s.current(ctx, s.nameOf(rec.Key))
		if err != nil {
			return "", err
		}
		sound := current != nil && current.Damaged == ""
		if sound && current.WriteID == rec.WriteID {
			return pre.Repeated(current)
		}
		if err := pre.Check(current); err != nil {
			return "", err
		}
		if current == nil && meta != nil {
			return "", fmt.Errorf("%w: secret %s in namespace %s is being deleted, and waits for its finalizers: %s", store.ErrUnavailable, meta.Name, s.namespace, strings.Join(meta.Finalizers, ", "))
		}
		next := *rec
		if sound {
			next.Created = current.Created
		}
		secret, err := s.build(meta, &next)
		if err != nil {
			return "", err
		}
		written, err := s.send(caller, meta, secret)
		if err == nil {
			return versionOf(written), nil
		}
		if !errors.Is(err, errOvertaken) {
			return "", err
		}
	}
}

// Delete implements [store.Store].
func (s *Store) Delete(caller context.Context, key store.Key, pre store.Precondition) error {
	if err := key.Check(); err != nil {
		return err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return err
	}
	defer end()
	for {
		current, meta, err := s.current(ctx, s.nameOf(key))
		if err != nil {
			return err
		}
		if err := pre.Check(current); err != nil {
			return err
		}
		if current == nil {
			return store.ErrNotFound
		}
		err = s.api.remove(caller, meta)
		switch {
		case err == nil:
			return nil
		case !isConflict(err) && !isAbsent(err):
			return s.failed(caller, "delete", err)
		}
	}
}

// Close implements [store.Store]. Calls under way give up, a Watch too, unless
// they wait for the answer to a write; it waits until all have returned.
func (s *Store) Close() error {
	s.calls.Close()
	s.api.closeIdle()
	return nil
}

// errOvertaken: the Secret is not, or no longer, as the writer saw it.
var errOvertaken = errors.New("another write was faster")

// send creates a Secret where meta is nil, and else replaces the one that meta
// is of. Otherwise it returns errOvertaken.
func (s *Store) send(ctx context.Context, meta *metav1.ObjectMeta, secret *corev1.Secret) (*metav1.ObjectMeta, error) {
	if meta == nil {
		written, err := s.api.create(ctx, secret, false)
		if apierrors.IsAlreadyExists(err) && !apierrors.IsUnexpectedServerError(err) {
			return nil, errOvertaken
		}
		if err != nil {
			return nil, s.failed(ctx, "create", err)
		}
		return written, nil
	}
	written, err := s.api.update(ctx, secret)
	if isConflict(err) || isGone(err, "secrets") {
		return nil, errOvertaken
	}
	if err != nil {
		return nil, s.failed(ctx, "update", err)
	}
	return written, nil
}

func isConflict(err error) bool {
	return apierrors.IsConflict(err) && !apierrors.IsUnexpectedServerError(err)
}

// current is what a writer has to know of the Secret of that name: its record
// without values, nil when there is none, and its metadata, which is not nil
// while a deleted Secret waits for its finalizers.
func (s *Store) current(ctx context.Context, name string) (*store.Record, *metav1.ObjectMeta, error) {
	meta, err := s.api.head(ctx, name)
	switch {
	case isAbsent(err):
		return nil, nil, nil
	case err != nil:
		return nil, nil, s.failed(ctx, "get", err)
	case meta.DeletionTimestamp != nil:
		return nil, meta, nil
	}
	return s.look(ctx, meta)
}

// look is the record without values that a Secret holds whose metadata is
// known. Only a sealed one that others wrote to is read for it: then both are
// as of now.
func (s *Store) look(ctx context.Context, meta *metav1.ObjectMeta) (*store.Record, *metav1.ObjectMeta, error) {
	o, err := s.read(meta)
	if err != nil {
		return nil, nil, s.notOurs(meta.Name, err)
	}
	if !o.sealed || !o.foreign {
		return o.rec, meta, nil
	}
	rec, meta, err := s.whole(ctx, meta.Name)
	if rec != nil {
		rec.Payload = nil
		rec.Data.Wipe() // it was changed to the other form meanwhile
		rec.Data = nil
	}
	return rec, meta, err
}

// whole is the record that the Secret of that name holds, nil when there is
// none, and the Secret's metadata.
func (s *Store) whole(ctx context.Context, name string) (*store.Record, *metav1.ObjectMeta, error) {
	secret, err := s.api.get(ctx, name)
	switch {
	case isAbsent(err):
		return nil, nil, nil
	case err != nil:
		return nil, nil, s.failed(ctx, "get", err)
	case secret.DeletionTimestamp != nil:
		wipe(secret)
		return nil, &secret.ObjectMeta, nil
	}
	rec, err := s.open(secret)
	if err != nil {
		wipe(secret)
		return nil, nil, s.notOurs(name, err)
	}
	if rec.Damaged != "" {
		wipe(secret)
	}
	return rec, &secret.ObjectMeta, nil
}

func wipe(secret *corev1.Secret) {
	for _, value := range secret.Data {
		clear(value)
	}
}

func (s *Store) notOurs(name string, err error) error {
	return fmt.Errorf("%w: %s: label it %s=%s and annotate it %s and %s as its name says, or remove it", store.ErrDamaged, s.damage(name, err), storeLabel, s.config.Name, scopeAnnotation, idAnnotation)
}
