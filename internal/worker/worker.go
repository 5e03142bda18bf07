package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/config"
	"credbus/internal/handler"
	"credbus/internal/manager"
	"credbus/internal/natsconn"
	"credbus/internal/natsd"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/internal/store/jetstream"
	"credbus/internal/store/memory"
	"credbus/internal/store/policy"
	"credbus/subjects"
)

// Worker is a running worker.
type Worker struct {
	config *config.Config
	logger *slog.Logger
	name   string

	server  *natsd.Server // nil when it joined another
	conn    *nats.Conn
	store   store.Store
	watched store.Watcher // nil when the store cannot tell of changes
	keyring *seal.Keyring
	cache   *cache.Cache // nil when disabled
	replica *coherence.Replica
	handler *handler.Handler

	stopFollowing context.CancelFunc
	following     sync.WaitGroup
	closing       sync.Once
}

// startTimeout bounds what a start waits for others.
const startTimeout = 10 * time.Second

// Start runs a worker until Close. It serves, and trusts its cache, when Start
// returns. Errors say which setting to change.
func Start(ctx context.Context, config *config.Config, logger *slog.Logger) (*Worker, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	w := &Worker{config: config, logger: logger, name: replicaName()}
	for _, step := range []func(context.Context) error{
		w.startServer, w.connect, w.openStore, w.openCache, w.startReplica, w.serve,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, w.Close(context.WithoutCancel(ctx)))
		}
	}
	return w, nil
}

// replicaName is the host's name and what makes this run unique: a worker that
// comes back is another replica than the one that went.
func replicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	host = strings.Map(func(r rune) rune {
		if r == '.' || r == '*' || r == '>' || r <= ' ' {
			return '-'
		}
		return r
	}, host)
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:6]))
}

func (w *Worker) startServer(ctx context.Context) (err error) {
	if err := os.MkdirAll(w.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("create the data directory: %w: choose another with --data-dir (CREDBUS_DATA_DIR)", err)
	}
	if !w.config.NATS.Embedded() {
		return nil
	}
	w.server, err = natsd.Start(ctx, natsd.Config{
		Dir:    w.config.DataDir,
		Host:   w.config.NATS.Host,
		Port:   w.config.NATS.Port,
		Prefix: w.config.NATS.Prefix,
		Logger: w.logger,
	})
	return err
}

func (w *Worker) connect(ctx context.Context) (err error) {
	c := w.config.NATS
	options := natsconn.Config{
		URL: c.URL, Context: c.Context, User: c.User, Password: c.Password,
		Creds: c.Creds, NKey: c.NKey, Token: c.Token,
		TLS:    natsconn.TLS{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key},
		Name:   "credbus worker " + w.name,
		Logger: w.logger,
	}
	if w.server != nil {
		options.Context = w.server.WorkerContext()
	}
	w.conn, err = natsconn.Connect(ctx, options)
	return err
}

func (w *Worker) openStore(ctx context.Context) (err error) {
	switch w.config.Store.Type {
	case "memory":
		w.store = w.guard(memory.New())
		w.keyring, err = seal.NewKeyring()
		return err
	case "jetstream":
		bucket, err := jetstream.New(ctx, w.conn, jetstream.Config{Bucket: w.config.Store.Bucket, Replicas: w.config.Store.Replicas})
		if err != nil {
			return err // which names the settings
		}
		w.setStore(bucket)
		return w.openKeyring(ctx, "store.bucket")
	default:
		files, err := file.New(file.Config{Dir: w.config.Store.Dir})
		if err != nil {
			return fmt.Errorf("store.dir: %w", err)
		}
		w.setStore(files)
		return w.openKeyring(ctx, "store.dir")
	}
}

// setStore uses a store that others may change as well.
func (w *Worker) setStore(driver store.Store) {
	w.watched, _ = driver.(store.Watcher)
	w.store = w.guard(driver)
}

// guard puts the policy for faults in front of a driver.
func (w *Worker) guard(driver store.Store) store.Store {
	c := w.config.Store
	return policy.New(driver, policy.Config{
		Retries: c.Retries, Backoff: c.RetryBackoff,
		ReadTimeout: c.ReadTimeout, WriteTimeout: c.WriteTimeout,
		BreakerFailures: c.BreakerFailures, BreakerDelay: c.BreakerDelay,
		Changed: w.storeChanged,
	})
}

// storeChanged logs what becomes of the store's breaker.
func (w *Worker) storeChanged(change policy.Change) {
	switch change.State {
	case policy.Open:
		w.logger.Error("the store fails: calls are refused until a probe succeeds (store.breaker_failures, store.breaker_delay)",
			"breaker", change.State, "since", change.Since, "probe", change.Probe, "error", change.Err)
	case policy.HalfOpen:
		w.logger.Info("the store is probed", "breaker", change.State, "since", change.Since)
	default:
		w.logger.Info("the store answers again", "breaker", change.State, "after", time.Since(change.Since).Round(time.Millisecond))
	}
}

// openKeyring makes a keyring where there is none, unless the store holds what
// only the missing one opens. setting is where the store is set.
func (w *Worker) openKeyring(ctx context.Context, setting string) (err error) {
	path := w.config.Keyring.File
	defer func() {
		if err != nil {
			err = fmt.Errorf("keyring.file: %w", err)
		}
	}()
	w.keyring, err = seal.OpenKeyring(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	page, err := w.store.List(ctx, store.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("it is missing, and whether it is needed cannot be told: %s: %w", setting, err)
	}
	if len(page.Records) > 0 {
		return fmt.Errorf("%s is missing, and the store holds credentials that only it opens: put it back from a backup, copy it from a worker that shares the store, or name the right one", path)
	}
	w.keyring, err = seal.CreateKeyring(path)
	if errors.Is(err, fs.ErrExist) { // another worker was faster
		w.keyring, err = seal.OpenKeyring(path)
	}
	return err
}

func (w *Worker) openCache(context.Context) (err error) {
	c := w.config.Cache
	if !c.Enabled {
		return nil
	}
	w.cache, err = cache.New(cache.Config{
		Entries: c.Entries, Bytes: int64(c.Bytes), TTL: c.TTL, Idle: c.Idle,
		// When absences are not to be cached, nobody puts any, and the cache's
		// default, which zero stands for, is never used.
		NegativeTTL: c.NegativeTTL,
	})
	return err
}

func (w *Worker) startReplica(ctx context.Context) error {
	// A key is held longer than a write to it may take, with what a strict one
	// waits for the other replicas, and what a store needs to notice that a
	// write was given up.
	hold := w.config.Store.WriteTimeout + 3*coherence.DefaultLease
	stream, err := coherence.OpenStream(ctx, w.conn, coherence.StreamConfig{
		Name:     w.config.Stream.Name,
		Prefix:   subjects.Prefix(w.config.NATS.Prefix),
		Replicas: w.config.Stream.Replicas,
		MaxAge:   w.config.Stream.MaxAge,
		MaxBytes: int64(w.config.Stream.MaxBytes),
		Logger:   w.logger,
	})
	if err != nil {
		return err
	}
	mode := coherence.Mode(w.config.Coherence.Mode)
	if mode == coherence.Off {
		w.logger.Warn("coherence.mode is off: this worker goes on serving what was changed elsewhere until its TTL has passed; for measuring only")
	}
	w.replica = coherence.NewReplica(stream, w.coherentCache(), coherence.Config{Name: w.name, Mode: mode, Hold: hold, Logger: w.logger})
	follow, stop := context.WithCancel(context.Background())
	w.stopFollowing = stop
	w.following.Go(func() { w.replica.Run(follow) })
	if w.watched != nil {
		w.following.Go(func() { w.watchStore(follow) })
	}
	if err := w.replica.AwaitTrust(ctx); err != nil {
		return fmt.Errorf("follow stream %s (stream.name): %w", w.config.Stream.Name, err)
	}
	return nil
}

func (w *Worker) coherentCache() coherence.Cache {
	if w.cache == nil {
		return noCache{}
	}
	return w.cache
}

// noCache is the cache of a worker whose cache is disabled.
type noCache struct{}

func (noCache) Drop(string, string) {}
func (noCache) DropSubtree(string)  {}
func (noCache) Clear()              {}

func (w *Worker) serve(ctx context.Context) error {
	m, err := manager.New(manager.Config{
		Store: w.store, Keyring: w.keyring, Replica: w.replica,
		Cache: w.cache, NegativeCaching: w.config.Cache.NegativeTTL > 0,
		ReadTimeout: w.config.Store.ReadTimeout, WriteTimeout: w.config.Store.WriteTimeout,
		BatchItems: w.config.Batch.Items, BatchConcurrency: w.config.Batch.Concurrency,
		Logger: w.logger,
	})
	if err != nil {
		return err
	}
	w.handler, err = handler.New(handler.Config{
		Conn: w.conn, Manager: m, Replica: w.replica, Stats: w.stats, Name: w.name,
		Prefix: subjects.Prefix(w.config.NATS.Prefix), Queue: w.config.NATS.Queue,
		InboxPrefixes: w.config.NATS.InboxPrefixes,
		Workers:       w.config.Pool.Workers, Waiting: w.config.Pool.Queue,
		WaitingBytes: int64(w.config.Pool.Bytes), Logger: w.logger,
	})
	if err != nil {
		return err
	}
	return w.handler.Start(ctx)
}

func (w *Worker) stats() subjects.ReplicaStats {
	stats := subjects.ReplicaStats{Refused: w.replica.Refused()}
	if w.cache == nil {
		return stats
	}
	s := w.cache.Stats()
	stats.Hits, stats.Misses = int64(s.Hits), int64(s.Misses)
	stats.Evictions, stats.Expired = int64(s.Evictions), int64(s.Expired)
	stats.Refused += int64(s.Refused)
	stats.Entries, stats.Negative, stats.Capacity = int64(s.Entries), int64(s.Negative), int64(s.Capacity)
	stats.Bytes, stats.MaxBytes = s.Bytes, s.BytesCapacity
	return stats
}

// Name is unique to this run of the worker.
func (w *Worker) Name() string { return w.name }

// URL is the address of the NATS server it uses, without its password.
func (w *Worker) URL() string { return w.conn.ConnectedUrlRedacted() }

// ClientContext is the path of the nats context that clients of the embedded
// server connect with, or "" when there is no embedded server.
func (w *Worker) ClientContext() string {
	if w.server == nil {
		return ""
	}
	return w.server.ClientContext()
}

// Close drains: it takes no more requests, answers those it has, and stops.
// What takes longer than ctx allows is given up, with an error. It may be
// called again, and does nothing then.
func (w *Worker) Close(ctx context.Context) (err error) {
	w.closing.Do(func() { err = w.stop(ctx) })
	return err
}

// leave spares the writes of other replicas the wait for this one's lease.
func (w *Worker) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := w.replica.Leave(ctx); err != nil {
		w.logger.Debug("the other replicas could not be told that this one is gone", "error", err)
	}
}

// stop takes the parts down in the order in which they lean on each other.
func (w *Worker) stop(ctx context.Context) error {
	var errs []error
	if w.handler != nil {
		errs = append(errs, w.handler.Close(ctx))
	}
	if w.stopFollowing != nil {
		w.leave(ctx)
		w.stopFollowing()
		w.following.Wait()
	}
	if w.store != nil {
		errs = append(errs, w.store.Close())
	}
	if w.conn != nil {
		w.conn.Close()
	}
	if w.cache != nil {
		errs = append(errs, w.cache.Close())
	}
	if w.server != nil {
		errs = append(errs, w.server.Close())
	}
	return errors.Join(errs...)
}
