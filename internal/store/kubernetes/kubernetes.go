package kubernetes

import (
	"context"
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

// Config describes the namespace and its cluster.
type Config struct {
	// Namespace holds the Secrets. It must exist. Default: that of the pod, or
	// of the kubeconfig's context.
	Namespace string
	// Kubeconfig is a file, or several as in the variable KUBECONFIG. Default:
	// the service account of the pod; outside of one, .kube/config in the home
	// directory.
	Kubeconfig string
	// Context is a context of the kubeconfig; default its current one.
	Context string
	// Name begins the name of every Secret and is its label credbus.io/store, so
	// that several stores may share a namespace; a DNS label. Default DefaultName.
	Name string
	// Native keeps values as the data of a Secret, for pods and people to read
	// and write. Otherwise a Secret holds a sealed record.
	Native bool
	// Logger gets the warnings of the API server. Default: slog.Default().
	Logger *slog.Logger
}

// Store keeps records as Secrets. It implements [store.Watcher],
// [store.Native] and [store.Identified], for any number of processes.
type Store struct {
	config    Config
	api       *api
	namespace string
	server    string // and
	user      string // for messages
	watchTime time.Duration

	uid          atomic.Pointer[string] // of the namespace, the last one that Identity found
	unidentified sync.Once              // warned that there is none

	calls *store.Calls
}

var (
	_ store.Watcher = (*Store)(nil)
	_ store.Native  = (*Store)(nil)

	_ store.Identified = (*Store)(nil)
)

// New asks the API server for the permissions that a store needs, and creates a
// Secret in a dry run. It returns within 2 seconds. Its error says what to
// change.
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
		return nil, fmt.Errorf("%s cannot be used for a client (store.kubernetes.kubeconfig): %w", account.user, err)
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
// etcd, never from a cache that may be old.
func (s *Store) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
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
	if err := rec.Target.Check(); err != nil {
		return "", err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return "", err
	}
	defer end()
	name := s.nameOf(rec.Target)
	read := func() (*store.Record, *metav1.ObjectMeta, error) { return s.current(ctx, name) }
	return store.Replace(rec, pre, read, func(next *store.Record, meta *metav1.ObjectMeta) (string, error) {
		if meta != nil && meta.DeletionTimestamp != nil {
			return "", fmt.Errorf("%w: secret %s in namespace %s is being deleted, and waits for its finalizers: %s", store.ErrUnavailable, name, s.namespace, strings.Join(meta.Finalizers, ", "))
		}
		secret, err := s.build(meta, next)
		if err != nil {
			return "", err
		}
		written, err := s.send(caller, meta, secret)
		if err != nil {
			return "", err
		}
		return versionOf(written), nil
	})
}

// Delete implements [store.Store].
func (s *Store) Delete(caller context.Context, key subjects.Target, pre store.Precondition) error {
	if err := key.Check(); err != nil {
		return err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return err
	}
	defer end()
	read := func() (*store.Record, *metav1.ObjectMeta, error) { return s.current(ctx, s.nameOf(key)) }
	return store.Remove(pre, read, func(meta *metav1.ObjectMeta) error {
		err := s.api.remove(caller, meta)
		switch {
		case err == nil:
			return nil
		case isConflict(err), isAbsent(err):
			return store.ErrOvertaken
		}
		return s.failed(caller, "delete", err)
	})
}

// Close implements [store.Store].
func (s *Store) Close(ctx context.Context) error { return s.calls.Close(ctx, s.api.closeIdle) }

// send creates a Secret if meta is nil, and otherwise replaces the one of meta.
// If the Secret has changed, it returns store.ErrOvertaken.
func (s *Store) send(ctx context.Context, meta *metav1.ObjectMeta, secret *corev1.Secret) (*metav1.ObjectMeta, error) {
	if meta == nil {
		written, err := s.api.create(ctx, secret, false)
		if apierrors.IsAlreadyExists(err) && !apierrors.IsUnexpectedServerError(err) {
			return nil, store.ErrOvertaken
		}
		if err != nil {
			return nil, s.failed(ctx, "create", err)
		}
		return written, nil
	}
	written, err := s.api.update(ctx, secret)
	if isConflict(err) || isGone(err, "secrets") {
		return nil, store.ErrOvertaken
	}
	if err != nil {
		return nil, s.failed(ctx, "update", err)
	}
	return written, nil
}

func isConflict(err error) bool {
	return apierrors.IsConflict(err) && !apierrors.IsUnexpectedServerError(err)
}

// current returns what a writer must know about the Secret of that name: its
// record without values, or nil, and its metadata. Metadata without a record
// means that a deleted Secret waits for its finalizers.
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

// look returns the record, without values, of a Secret with known metadata. It
// reads the Secret only if it is sealed and others wrote to it. Then it returns
// the new metadata too.
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
		rec.Data.Wipe() // it was changed to the native form meanwhile
		rec.Data = nil
	}
	return rec, meta, err
}

// whole returns the record of the Secret of that name, or nil, and the Secret's
// metadata.
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
	return fmt.Errorf("%w: %s: label it %s=%s and annotate it with %s and %s to match its name, or remove it", store.ErrDamaged, s.damage(name, err), storeLabel, s.config.Name, scopeAnnotation, idAnnotation)
}
