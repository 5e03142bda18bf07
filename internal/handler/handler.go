package handler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"credbus/internal/audit"
	"credbus/internal/coherence"
	"credbus/internal/lifecycle"
	"credbus/internal/limits"
	"credbus/internal/manager"
	"credbus/internal/natsconn"
	"credbus/subjects"
)

// Config holds a Handler's parts and settings. Conn, Manager, Replica, Stats,
// ScopeStats and Name are required.
type Config struct {
	Conn    *nats.Conn
	Manager *manager.Manager
	Replica *coherence.Replica
	// Stats returns this replica's cache statistics and the state of its stores.
	Stats func() subjects.ReplicaStats
	// ScopeStats returns what it has cached of a scope and all below it.
	ScopeStats func(subjects.Scope) subjects.ScopeStats
	Facts      func() []subjects.Fact // what operators compare between replicas; nil: nothing
	// Name is unique to this run of this replica. Tenants see it, so it must not reveal
	// where the replica runs.
	Name string
	Host string // where the replica runs, for operators
	Jobs Jobs   // nil: this worker has none
	Wire Wire
	// ResealJobKey seals the key for jobs under the keyring's primary, even if this worker
	// runs no jobs. nil: no worker has such a key.
	ResealJobKey func(context.Context) error

	Prefix subjects.Prefix // default subjects.DefaultPrefix
	Queue  string          // queue group; default "credbus"
	Strict bool            // refuse requests with unknown fields
	// InboxPrefixes are the allowed beginnings of reply subjects, besides "_R_.",
	// which servers insert for imports. Default "_INBOX".
	InboxPrefixes []string

	// Workers is how many requests run at once, besides cache hits. Waiting is how many
	// more may wait, and WaitingBytes how many bytes those may have. Further requests are
	// refused with resource_exhausted. Memory is how many bytes the running requests may
	// take, by the most that their commands read and answer. A quarter of it is kept for
	// requests on a single credential. Defaults 256, 16,384, 64 MiB and 128 MiB.
	Workers, Waiting     int
	WaitingBytes, Memory int64
	// Limits bounds what scopes may take. nil: nothing does.
	Limits *limits.Limits
	Audit  *audit.Log // nil: no command is recorded
	// AuditPages answers requests for the audit log. nil: this worker keeps none in a stream.
	AuditPages AuditPages
	// RequestInfo lets records name the account and user that the header Nats-Request-Info
	// names. Clients in the workers' own account can make that up.
	RequestInfo bool
	// GatherTimeout is how long the replicas have to answer a question to all of them.
	// A request that comes during one question waits for the next, so for up to twice
	// as long. Default 1 s.
	GatherTimeout time.Duration
	Logger        *slog.Logger // default slog.Default()
}

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = subjects.DefaultPrefix
	}
	if c.Queue == "" {
		c.Queue = "credbus"
	}
	if c.Wire.Clear == "" {
		c.Wire.Clear = WarnOfClear
	}
	if len(c.InboxPrefixes) == 0 {
		c.InboxPrefixes = []string{nats.InboxPrefix}
	}
	if c.Workers <= 0 {
		c.Workers = 256
	}
	if c.Waiting <= 0 {
		c.Waiting = 16 << 10
	}
	if c.WaitingBytes <= 0 {
		c.WaitingBytes = 64 << 20
	}
	if c.Memory <= 0 {
		c.Memory = 128 << 20
	}
	if c.GatherTimeout <= 0 {
		c.GatherTimeout = time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) check() error {
	if c.Conn == nil || c.Manager == nil || c.Replica == nil || c.Stats == nil || c.ScopeStats == nil || c.Name == "" {
		return errors.New("handler: Conn, Manager, Replica, Stats, ScopeStats and Name are required")
	}
	if c.Wire.Keys == nil || c.Wire.Messages == nil || c.Wire.Now == nil {
		return errors.New("handler: Wire.Keys, Wire.Messages and Wire.Now are required")
	}
	for _, prefix := range c.InboxPrefixes {
		if err := checkInboxPrefix(prefix, c.Prefix); err != nil {
			return err
		}
	}
	return nil
}

// Handler serves the commands of one worker.
type Handler struct {
	config    Config
	inboxes   []string // each with its dot
	endpoints map[subjects.Command]*endpoint
	pool      *pool
	reports   *pool          // answers to replicas
	waiting   errgroup.Group // commands that wait for all replicas
	late      errgroup.Group // refusals that are held back

	submitting errgroup.Group // jobs on their way into the queue
	asking     sync.WaitGroup // rounds of questions to all replicas
	peers      peers
	counts     counters
	service    *service
	sealing    *sealing

	askStats *asker[subjects.ReplicaStats, *subjects.ReplicaStats]
	askScope *asker[subjects.ScopeStats, *subjects.ScopeStats]
	askFacts *asker[subjects.ReplicaFacts, *subjects.ReplicaFacts]
	askKeys  *asker[subjects.ReplicaKeys, *subjects.ReplicaKeys]

	// ctx is that of commands in the pool. Close cancels it when they take too long.
	ctx    context.Context
	cancel context.CancelFunc
	// leaving is closed when Close is called.
	leaving chan struct{}

	arrivals      *natsconn.Arrivals
	subscriptions *natsconn.Subscriptions
	replies       *natsconn.Replies
	keeping       lifecycle.Group // arrivals, and what tries again what NATS refused

	life lifecycle.Part
}

// New checks config and returns a Handler that serves once Start is called.
func New(config Config) (*Handler, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	h := &Handler{
		config:  config,
		leaving: make(chan struct{}),
		pool:    newPool(config.Workers, config.Waiting, config.WaitingBytes, config.Memory),
		reports: newPool(config.Workers, config.Waiting, config.WaitingBytes, config.Memory),
	}
	h.counts.warn.Interval, h.counts.warnFull.Interval = time.Minute, time.Minute
	for _, prefix := range config.InboxPrefixes {
		h.inboxes = append(h.inboxes, strings.TrimSuffix(prefix, ".")+".")
	}
	h.inboxes = append(h.inboxes, "_R_.")
	h.sealing = newSealing(config.Wire)
	h.endpoints = h.commands()
	h.service = newService(config.Name, config.Host, h.WireKey())
	h.waiting.SetLimit(maxAsking)
	h.late.SetLimit(maxLate)
	h.submitting.SetLimit(maxSubmitting)
	h.askStats, h.askScope = newAsker[subjects.ReplicaStats](h, statsReport), newAsker[subjects.ScopeStats](h, scopeReport)
	h.askFacts, h.askKeys = newAsker[subjects.ReplicaFacts](h, factsReport), newAsker[subjects.ReplicaKeys](h, keysReport)
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.subscriptions = natsconn.Keep(config.Conn, config.Logger)
	h.arrivals = natsconn.Watch(h.subscriptions)
	h.replies = natsconn.WatchReplies(config.Conn, config.Logger, config.InboxPrefixes)
	h.subscriptions.Limit(max(config.Waiting, 1<<16), int(max(config.WaitingBytes, 64<<20))) // at least what the pool takes
	return h, nil
}

// Start subscribes. When it returns, the server has every subscription that Refused does
// not name. See package lifecycle.
func (h *Handler) Start(ctx context.Context) error { return h.life.Start(ctx, h.start) }

func (h *Handler) start(ctx context.Context) error {
	for _, command := range slices.Concat(subjects.Commands, subjects.AdminCommands) {
		for _, suffix := range []string{"", ".>"} {
			serve := h.serve(command)
			if command == subjects.Retrieve {
				serve = h.serveHits()
			}
			subject := h.config.Prefix.Command(command, subjects.Root) + suffix
			if err := h.subscriptions.Subscribe(subject, h.config.Queue, serve); err != nil {
				return err
			}
		}
	}
	if h.config.Jobs != nil {
		if err := h.subscriptions.Subscribe(h.config.Prefix.Jobs(), h.config.Queue, h.submission); err != nil {
			return err
		}
	}
	if err := h.startPeers(); err != nil {
		return err
	}
	if err := h.startService(); err != nil {
		return err
	}
	h.keeping.Go(h.arrivals.Run)
	h.keeping.Go(h.subscriptions.Run)
	h.keeping.Go(h.replies.Run)
	if err := h.subscriptions.Settle(ctx); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if err := h.replies.Probe(ctx); err != nil {
		return fmt.Errorf("find out whether replies are allowed: %w", err)
	}
	h.join(ctx)
	return nil
}

// Refused names the subjects that NATS does not let this worker serve, sorted. See
// natsconn.Subscriptions.
func (h *Handler) Refused() []string { return h.subscriptions.Refused() }

// Unanswered names the inboxes to which NATS does not let this worker reply, sorted. See
// natsconn.Replies.
func (h *Handler) Unanswered() []string { return h.replies.Refused() }

// Close takes no more requests, and returns when those taken have been
// answered. After half of what ctx leaves it cancels them; what is then still
// running is abandoned with the error of ctx. It leaves the connection open.
func (h *Handler) Close(ctx context.Context) error { return h.life.Close(ctx, h.stop) }

func (h *Handler) stop(ctx context.Context) error {
	defer h.cancel()
	close(h.leaving)
	h.keeping.Stop()
	h.leave()
	h.subscriptions.Drain()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.subscriptions.Wait() // no callback runs, so nothing is added to the pools
		h.pool.wait()
		_ = h.submitting.Wait() // none fails
		_ = h.waiting.Wait()    // they answer their callers with what fails
		_ = h.late.Wait()
		h.asking.Wait()
		h.reports.wait()
	}()
	soft := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		soft, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	select {
	case <-done:
	case <-soft.Done():
		h.cancel()
		<-done
	}
	return h.flush(ctx)
}

// flush waits until the last replies have left.
func (h *Handler) flush(ctx context.Context) error {
	const most = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if err := h.config.Conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("see to it that the last replies have left: %w", err)
	}
	return nil
}
