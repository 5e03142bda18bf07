package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"credbus/internal/cache"
	"credbus/internal/clock"
	"credbus/internal/coherence"
	"credbus/internal/config"
	"credbus/internal/deployment"
	"credbus/internal/handler"
	"credbus/internal/health"
	"credbus/internal/jobs"
	"credbus/internal/manager"
	"credbus/internal/natsconn"
	"credbus/internal/natsd"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/internal/store/router"
	"credbus/subjects"
)

// Worker is a running worker.
type Worker struct {
	config *config.Config
	logger *slog.Logger
	name   string

	server  *natsd.Server // nil when it joined another
	conn    *nats.Conn
	stores  []*opened // by name
	store   *router.Router
	keyring *seal.Live
	// keyringFile is where it comes from; none where it is in memory only.
	keyringFile seal.File
	cache       *cache.Cache // nil when disabled
	known       *cache.Cache // for outages of the store; nil when disabled
	deployment  *deployment.Keeper
	joined      *deployment.Record
	places      *deployment.Places
	stream      *coherence.Stream
	replica     *coherence.Replica
	clock       *clock.Watch
	localTime   func() time.Time // time.Now, but in tests
	started     time.Time
	manager     *manager.Manager
	jobs        *jobs.Service // nil when disabled
	handler     *handler.Handler
	health      *health.Server // nil when nobody is told

	serving, stopping atomic.Bool
	stopFollowing     context.CancelFunc
	following         sync.WaitGroup
	closing           sync.Once
	closed            chan struct{} // by the end of stop
	closeErr          chan error    // what stop returned, for the first caller
	failed            chan error    // see Failed
	recheck           atomic.Bool   // whether this worker fits its deployment, now
}

// startTimeout bounds what a start waits for others.
const startTimeout = 10 * time.Second

// Start runs a worker until Close. It serves, and trusts its cache, when Start
// returns. Errors say which setting to change.
func Start(ctx context.Context, config *config.Config, logger *slog.Logger) (*Worker, error) {
	w := newWorker(config, logger)
	if err := w.start(ctx); err != nil {
		return nil, errors.Join(err, w.Close(context.WithoutCancel(ctx)))
	}
	return w, nil
}

func newWorker(config *config.Config, logger *slog.Logger) *Worker {
	return &Worker{
		config: config, logger: logger, name: replicaName(), localTime: time.Now, started: time.Now(),
		failed: make(chan error, 1), closed: make(chan struct{}), closeErr: make(chan error, 1),
	}
}

func (w *Worker) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, step := range []func(context.Context) error{
		w.startHealth, w.startServer, w.connect, w.checkExposure, w.checkStreams, w.foreseeDeployment, w.openStores, w.openKeyring, w.openCache, w.joinDeployment, w.startReplica, w.startClock, w.openManager, w.startExpiry, w.openJobs, w.serve,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	w.serving.Store(true)
	return nil
}

// replicaName is unique to this run: a worker that comes back is another replica than
// the one that went. Events, jobs and clear_cache show it to tenants, so it says nothing
// of where the worker runs; place does, to operators.
func replicaName() string { return "worker-" + strings.ToLower(rand.Text()[:10]) }

// place is the host that this worker runs on, and its process there.
func place() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
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
		TLS:  natsconn.TLS{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key},
		Name: "credbus " + w.name + " on " + place(),
		// Its own, so that no tenant who may listen below _INBOX hears what the stores
		// and the streams answer.
		InboxPrefix: subjects.Prefix(c.Prefix).Inbox(),
		RequireTLS:  w.config.Security.RequireTLS,
		Logger:      w.logger,
	}
	if w.server != nil {
		// Variables such as NATS_USER are of another server.
		options = natsconn.Config{Context: w.server.WorkerContext(), Name: options.Name, InboxPrefix: options.InboxPrefix, Logger: w.logger}
	}
	w.conn, err = natsconn.Connect(ctx, options)
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
	if err != nil || c.StaleOnOutage <= 0 {
		return err
	}
	w.known, err = cache.New(cache.Config{Entries: c.Entries, Bytes: int64(c.Bytes), TTL: c.StaleOnOutage})
	return err
}

// hold is for how long a key is held for a write of this worker: longer than the write
// may take, with what a strict one waits for the other replicas, and what a store needs
// to notice that a write was given up.
func (w *Worker) hold() time.Duration {
	_, writeTimeout := w.storeTimeouts()
	return writeTimeout + 3*coherence.DefaultLease
}

func (w *Worker) startReplica(ctx context.Context) error {
	readTimeout, _ := w.storeTimeouts()
	var err error
	w.stream, err = coherence.OpenStream(ctx, w.conn, w.eventsConfig())
	if err != nil {
		return err
	}
	mode := coherence.Mode(w.config.Coherence.Mode)
	if mode == coherence.Off {
		w.logger.Warn("coherence.mode is off: this worker goes on serving what was changed elsewhere until its TTL has passed; for measuring only")
	}
	w.replica = coherence.NewReplica(w.stream, w.coherentCache(), coherence.Config{Name: w.name, Mode: mode, Hold: w.hold(), Longest: w.joined.Hold,
		LongestLease: w.joined.Lease, OtherProtocol: func(int, string) { w.recheck.Store(true) },
		Lag: w.storeLag(), Read: readTimeout, Lags: w.lags, Store: w.keeper(), Newer: w.newer, Observe: w.observe, Logger: w.logger})
	follow, stop := context.WithCancel(context.Background())
	w.stopFollowing = stop
	w.following.Go(func() { w.replica.Run(follow) })
	w.following.Go(func() { w.watchDeployment(follow) })
	if w.keyringFile.Path != "" {
		w.following.Go(func() { w.keyring.Follow(follow) })
	}
	for _, o := range w.stores {
		if watcher, ok := o.driver.(store.Watcher); ok {
			w.following.Go(func() { w.watchStore(follow, o.name, watcher) })
		}
	}
	switch err := w.replica.AwaitTrust(ctx); {
	case errors.Is(err, coherence.ErrNoRoom):
		w.logger.Error("this worker starts without room in the event stream: it reads from the stores, caches nothing, and refuses writes and jobs until there is room; free space of the NATS server or its account",
			"stream", w.config.Stream.Name, "error", err)
	case err != nil:
		return fmt.Errorf("follow stream %s (stream.name): %w", w.config.Stream.Name, err)
	}
	return nil
}

func (w *Worker) coherentCache() coherence.Cache {
	if w.cache == nil {
		return noCache{}
	}
	if w.known == nil {
		return w.cache
	}
	return bothCaches{w.cache, w.known}
}

// bothCaches drop together.
type bothCaches struct{ cache, known *cache.Cache }

func (b bothCaches) Drop(scope, id string)    { b.known.Drop(scope, id); b.cache.Drop(scope, id) }
func (b bothCaches) DropSubtree(scope string) { b.known.DropSubtree(scope); b.cache.DropSubtree(scope) }
func (b bothCaches) DropScopes(drop func(scope string) bool) {
	b.known.DropScopes(drop)
	b.cache.DropScopes(drop)
}
func (b bothCaches) Clear() { b.known.Clear(); b.cache.Clear() }

// noCache is the cache of a worker whose cache is disabled.
type noCache struct{}

func (noCache) Drop(string, string)          {}
func (noCache) DropSubtree(string)           {}
func (noCache) DropScopes(func(string) bool) {}
func (noCache) Clear()                       {}

func (w *Worker) openManager(context.Context) (err error) {
	readTimeout, writeTimeout := w.storeTimeouts()
	w.manager, err = manager.New(manager.Config{
		RecordsConfig: manager.RecordsConfig{
			Store: w.store, Keyring: w.keyring, RequireFormat: w.config.Keyring.RequireFormat, Replica: w.replica, ReadTimeout: readTimeout,
			BatchItems: w.config.Batch.Items, BatchConcurrency: w.config.Batch.Concurrency, Logger: w.logger,
		},
		ReaderConfig:     manager.ReaderConfig{Cache: w.cache, NegativeCaching: w.config.Cache.NegativeTTL > 0, LastKnown: w.known},
		WriterConfig:     manager.WriterConfig{WriteTimeout: writeTimeout, Index: w.index},
		MaintainerConfig: manager.MaintainerConfig{Stores: w.storesByName(), Routed: w.store.Routed},
	})
	return err
}

func (w *Worker) openJobs(ctx context.Context) (err error) {
	c := w.config.Jobs
	if !c.Enabled {
		return nil
	}
	w.jobs, err = jobs.New(ctx, jobs.Config{
		Conn: w.conn, Manager: w.manager, Keyring: w.keyring, Fleeting: w.keyringFile.Path == "",
		Applied: w.replica.Applied, Last: w.stream.LastChange, Name: w.name,
		Served: func() int64 { return w.handler.Served() }, // there is one by then
		Prefix: subjects.Prefix(w.config.NATS.Prefix), Strict: w.config.Wire.Strict, Stream: c.Stream, Replicas: w.config.Stream.Replicas,
		MaxBytes: int64(c.MaxBytes), MaxStatusBytes: int64(c.MaxStatus), MaxDeadBytes: int64(c.MaxDead),
		MaxDelay: c.MaxDelay, Keep: c.Keep, KeepDead: c.KeepDead,
		Concurrency: c.Concurrency, Share: c.Share, ItemConcurrency: w.config.Batch.Concurrency, BatchItems: w.config.Batch.Items,
		Attempts: c.Attempts, Backoff: c.Backoff, AckWait: c.AckWait, Logger: w.logger,
	})
	return err
}

func (w *Worker) serve(ctx context.Context) (err error) {
	config := handler.Config{
		Conn: w.conn, Manager: w.manager, Replica: w.replica, Stats: w.stats, ScopeStats: w.scopeStats, Facts: w.facts, Name: w.name, Host: place(),
		Prefix: subjects.Prefix(w.config.NATS.Prefix), Queue: w.config.NATS.Queue, Strict: w.config.Wire.Strict,
		InboxPrefixes: w.config.NATS.InboxPrefixes,
		Workers:       w.config.Pool.Workers, Waiting: w.config.Pool.Queue,
		WaitingBytes: int64(w.config.Pool.Bytes), Memory: int64(w.config.Pool.Memory), Logger: w.logger,
		ResealJobKey: func(ctx context.Context) error {
			return jobs.ResealKey(ctx, w.conn, w.config.Jobs.Stream, w.keyring)
		},
	}
	if w.jobs != nil {
		config.Jobs = w.jobs // nil of that type is not nil
	}
	if w.handler, err = handler.New(config); err != nil {
		return err
	}
	if err := w.handler.Start(ctx); err != nil || w.jobs == nil {
		return err
	}
	return w.jobs.Start(ctx)
}

func (w *Worker) stats() subjects.ReplicaStats {
	stats := subjects.ReplicaStats{Refused: w.replica.Refused(), Stores: w.storeStates()}
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

// scopeStats is what is cached of a scope and all below it.
func (w *Worker) scopeStats(scope subjects.Scope) subjects.ScopeStats {
	if w.cache == nil {
		return subjects.ScopeStats{}
	}
	fill := w.cache.Fill(string(scope))
	return subjects.ScopeStats{Entries: int64(fill.Entries), Negative: int64(fill.Negative), Bytes: fill.Bytes}
}

// Name is unique to this run of the worker.
func (w *Worker) Name() string { return w.name }

// Refused names the subjects that NATS does not let it serve, sorted; "?" stands for
// those that NATS does not name. They are tried again.
func (w *Worker) Refused() []string { return w.handler.Refused() }

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

// Close drains: it takes no more requests, answers those it has, and stops. What
// takes longer than ctx allows is given up, with an error. It may be called again, and
// from several goroutines: each call waits for the end, or until closeGrace after its
// own ctx. The first one gets the error.
func (w *Worker) Close(ctx context.Context) error {
	w.closing.Do(func() {
		go func() {
			defer close(w.closed)
			w.closeErr <- w.stop(ctx)
		}()
	})
	ended := func() error {
		select {
		case err := <-w.closeErr:
			return err
		default: // another caller has it
			return nil
		}
	}
	select {
	case <-w.closed:
		return ended()
	case <-ctx.Done():
	}
	select {
	case <-w.closed:
		return ended()
	case <-time.After(closeGrace):
		return fmt.Errorf("the worker was still stopping when its time ran out: %w", ctx.Err())
	}
}

// closeGrace is what the parts that no context bounds have to end, such as the driver
// of a store.
const closeGrace = time.Second

// leave spares the writes of other replicas the wait for this one's lease.
func (w *Worker) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := w.replica.Leave(ctx); err != nil {
		w.logger.Debug("the other replicas could not be told that this one is gone", "error", err)
	}
}

// stopServing has requests and jobs under way come to an end, both in the same time.
func (w *Worker) stopServing(ctx context.Context) error {
	var serving errgroup.Group
	if w.jobs != nil {
		serving.Go(func() error {
			if err := w.jobs.Close(ctx); err != nil {
				return fmt.Errorf("jobs were still at work when the time to stop ran out; other workers go on with them: %w", err)
			}
			return nil
		})
	}
	var err error
	if w.handler != nil {
		err = w.handler.Close(ctx)
	}
	return errors.Join(err, serving.Wait())
}

// stop takes the parts down in the order in which they lean on each other.
func (w *Worker) stop(ctx context.Context) error {
	w.stopping.Store(true)
	var errs []error
	errs = append(errs, w.stopServing(ctx))
	if w.stopFollowing != nil {
		w.stopFollowing()
		w.following.Wait()
		w.leave(ctx) // it has told its last by now
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
	if w.known != nil {
		errs = append(errs, w.known.Close())
	}
	if w.server != nil {
		errs = append(errs, w.server.Close())
	}
	if w.health != nil {
		errs = append(errs, w.health.Close(ctx))
	}
	return errors.Join(errs...)
}
