package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/audit"
	"credbus/internal/cache"
	"credbus/internal/clock"
	"credbus/internal/coherence"
	"credbus/internal/config"
	"credbus/internal/deployment"
	"credbus/internal/handler"
	"credbus/internal/health"
	"credbus/internal/jobs"
	"credbus/internal/lifecycle"
	"credbus/internal/limits"
	"credbus/internal/manager"
	"credbus/internal/natsconn"
	"credbus/internal/natsd"
	"credbus/internal/once"
	"credbus/internal/seal"
	"credbus/internal/sealkeys"
	"credbus/internal/store"
	"credbus/internal/store/router"
	"credbus/subjects"
)

// Worker is a running worker.
type Worker struct {
	config *config.Config
	logger *slog.Logger
	name   string

	server  *natsd.Server // nil when it uses an external one
	conn    *nats.Conn
	stores  []*opened // by name
	store   *router.Router
	keyring *seal.Live
	// keyringFile is the file of the keyring, empty if it is in memory only.
	keyringFile seal.File
	cache       *cache.Cache // nil when disabled
	known       *cache.Cache // used during outages of the store; nil when disabled
	deployment  *deployment.Keeper
	joined      *deployment.Record
	places      *deployment.Places
	stream      *coherence.Stream
	replica     *coherence.Replica
	clock       *clock.Watch
	localTime   func() time.Time // time.Now, but in tests
	started     time.Time
	manager     *manager.Manager
	writes      atomic.Pointer[manager.Manager] // manager, for the replica, which starts before it
	keys        *sealkeys.Keys
	messages    *once.Messages
	audit       *audit.Log         // nil when off
	auditPages  handler.AuditPages // nil if no records go into a stream
	jobs        *jobs.Service      // nil when disabled
	handler     *handler.Handler
	health      *health.Server // nil when no address is set

	serving, stopping atomic.Bool
	following         lifecycle.Group // goroutines that follow changes outside
	life              lifecycle.Part
	failed            chan error  // see Failed
	recheck           atomic.Bool // set to check now whether this worker fits its deployment
}

// startTimeout bounds how long a start waits for other programs.
const startTimeout = 10 * time.Second

// Start runs a worker until Close. When Start returns, the worker serves and
// trusts its cache. Errors name the setting to change.
func Start(ctx context.Context, config *config.Config, logger *slog.Logger) (*Worker, error) {
	w := newWorker(config, logger)
	if err := w.start(ctx); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
		defer cancel()
		return nil, errors.Join(err, w.Close(ctx))
	}
	return w, nil
}

func newWorker(config *config.Config, logger *slog.Logger) *Worker {
	return &Worker{
		config: config, logger: logger, name: replicaName(), localTime: time.Now, started: time.Now(),
		failed: make(chan error, 1),
	}
}

func (w *Worker) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, step := range []func(context.Context) error{
		w.startHealth, w.startServer, w.connect, w.checkExposure, w.checkStreams, w.foreseeDeployment, w.openStores, w.openKeyring, w.openCache, w.joinDeployment, w.startReplica, w.startClock, w.openManager, w.startExpiry, w.openKeys, w.openMessages, w.openAudit, w.openJobs, w.serve,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	w.serving.Store(true)
	return nil
}

// replicaName is unique to this run: a restarted worker is another replica.
// Tenants see the name in events, jobs and clear_cache, so it does not show
// where the worker runs; operators see that in place.
func replicaName() string { return "worker-" + strings.ToLower(rand.Text()[:10]) }

// place returns the host and the process ID of this worker.
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
		// Its own prefix: tenants who may subscribe below _INBOX must not hear
		// the replies of stores and streams.
		InboxPrefix: subjects.Prefix(c.Prefix).Inbox(),
		RequireTLS:  w.config.Security.RequireTLS,
		Logger:      w.logger,
	}
	if w.server != nil {
		// Variables such as NATS_USER belong to another server.
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
		// If the settings forbid cached absences, the manager puts none. Then
		// it does not matter that the cache takes zero for its default.
		NegativeTTL: c.NegativeTTL,
	})
	if err == nil && !w.cache.Locked() {
		w.logger.Debug("the keys of the cache may be swapped to disk: raise the limit of locked memory (ulimit -l), or turn off swap")
	}
	if err != nil || c.StaleOnOutage <= 0 {
		return err
	}
	w.known, err = cache.New(cache.Config{Entries: c.Entries, Bytes: int64(c.Bytes), TTL: c.StaleOnOutage})
	return err
}

// hold returns how long a hold for a write of this worker lasts: longer than
// the write itself, the wait of a strict write for the other replicas, and the
// time that a store needs to notice that a write was given up.
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
		w.logger.Warn("coherence.mode is off: this worker serves old credentials after changes by others, until the TTL has passed; use this only for measurements")
	}
	w.replica = coherence.NewReplica(w.stream, w.coherentCache(), coherence.Config{Name: w.name, Mode: mode, Hold: w.hold(), Longest: w.joined.Hold,
		LongestLease: w.joined.Lease, OtherProtocol: func(int, string) { w.recheck.Store(true) },
		Lag: w.storeLag(), Read: readTimeout, Lags: w.lags, Store: w.keeper(), Newer: w.newer, Observe: w.observe, Logger: w.logger})
	w.following.Go(w.replica.Run)
	w.following.Go(w.watchDeployment)
	if w.keyringFile.Path != "" {
		w.following.Go(w.keyring.Run)
	}
	for _, o := range w.stores {
		if watcher, ok := o.driver.(store.Watcher); ok {
			w.following.Go(func(ctx context.Context) { w.watchStore(ctx, o.name, watcher) })
		}
	}
	switch err := w.replica.AwaitTrust(ctx); {
	case errors.Is(err, coherence.ErrNoRoom):
		w.logger.Error("the event stream is full: until it has room, this worker reads from the stores, caches nothing, and refuses writes and jobs; free space of the NATS server or its account",
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

// bothCaches drops entries from both caches.
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
		WriterConfig:     manager.WriterConfig{WriteTimeout: writeTimeout, Index: w.index, Credentials: w.config.Limits.Credentials},
		MaintainerConfig: manager.MaintainerConfig{Stores: w.storesByName(), Routed: w.store.Routed},
	})
	w.writes.Store(w.manager)
	return err
}

func (w *Worker) openJobs(ctx context.Context) (err error) {
	c := w.config.Jobs
	if !c.Enabled {
		return nil
	}
	w.jobs, err = jobs.New(ctx, jobs.Config{
		Conn: w.conn, Manager: w.manager, Keys: w.keys,
		Applied: w.replica.Applied, Last: w.stream.LastChange, Name: w.name,
		Served: func() int64 { return w.handler.Served() }, // set before the first call
		Prefix: subjects.Prefix(w.config.NATS.Prefix), Strict: w.config.Wire.Strict, Stream: c.Stream, Replicas: w.config.Stream.Replicas,
		MaxBytes: int64(c.MaxBytes), MaxStatusBytes: int64(c.MaxStatus), MaxDeadBytes: int64(c.MaxDead),
		MaxDelay: c.MaxDelay, Keep: c.Keep, KeepDead: c.KeepDead,
		Concurrency: c.Concurrency, Share: c.Share, ItemConcurrency: w.config.Batch.Concurrency, BatchItems: w.config.Batch.Items,
		Attempts: c.Attempts, Backoff: c.Backoff, AckWait: c.AckWait, Queued: w.config.Limits.Jobs, Audit: w.audit, Logger: w.logger,
	})
	return err
}

func (w *Worker) serve(ctx context.Context) (err error) {
	config := handler.Config{
		Wire: handler.Wire{Keys: w.keys, Messages: w.messages, Now: w.serverTime, Clear: handler.Clear(w.config.Wire.Clear)},
		Conn: w.conn, Manager: w.manager, Replica: w.replica, Stats: w.stats, ScopeStats: w.scopeStats, Facts: w.facts, Name: w.name, Host: place(),
		Prefix: subjects.Prefix(w.config.NATS.Prefix), Queue: w.config.NATS.Queue, Strict: w.config.Wire.Strict,
		InboxPrefixes: w.config.NATS.InboxPrefixes,
		Audit:         w.audit, AuditPages: w.auditPages, RequestInfo: w.config.Audit.RequestInfo,
		Limits:  limits.New(limits.Config{Requests: w.config.Limits.Requests, InFlight: w.config.Limits.InFlight, Bytes: w.config.Limits.Bytes}),
		Workers: w.config.Pool.Workers, Waiting: w.config.Pool.Queue,
		WaitingBytes: int64(w.config.Pool.Bytes), Memory: int64(w.config.Pool.Memory), Logger: w.logger,
		ResealJobKey: func(ctx context.Context) error {
			return sealkeys.Reseal(ctx, w.conn, w.config.Jobs.Stream, w.keyring)
		},
	}
	if w.jobs != nil {
		config.Jobs = w.jobs // a nil pointer in an interface is not nil
	}
	if w.handler, err = handler.New(config); err != nil {
		return err
	}
	w.logger.Debug("requests can be sealed end to end", "wire_key", w.handler.WireKey(), "wire.clear", w.config.Wire.Clear)
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

// scopeStats counts the cached entries of a scope and all below it.
func (w *Worker) scopeStats(scope subjects.Scope) subjects.ScopeStats {
	if w.cache == nil {
		return subjects.ScopeStats{}
	}
	fill := w.cache.Fill(string(scope))
	return subjects.ScopeStats{Entries: int64(fill.Entries), Negative: int64(fill.Negative), Bytes: fill.Bytes}
}

// Name is unique to this run of the worker.
func (w *Worker) Name() string { return w.name }

// Refused returns the subjects that NATS does not let the worker serve, sorted.
// "?" stands for subjects that NATS does not name. The worker tries them again.
func (w *Worker) Refused() []string { return w.handler.Refused() }

// URL returns the address of the NATS server in use, without its password.
func (w *Worker) URL() string { return w.conn.ConnectedUrlRedacted() }

// ClientContext returns the path of the nats context with which clients connect
// to the embedded server, or "" without an embedded server.
func (w *Worker) ClientContext() string {
	if w.server == nil {
		return ""
	}
	return w.server.ClientContext()
}

// half returns ctx with half of the time that it leaves. The other half is for the parts that
// are closed later; the last important one is the embedded server.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	if left, bounded := timeLeft(ctx); bounded {
		return context.WithTimeout(ctx, left/2)
	}
	return context.WithCancel(ctx)
}

// closeStores closes the stores, and abandons those that wait too long for an answer.
func (w *Worker) closeStores(ctx context.Context) error {
	ctx, cancel := half(ctx)
	defer cancel()
	return w.store.Close(ctx)
}
