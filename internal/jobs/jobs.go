package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/audit"
	"credbus/internal/lifecycle"
	"credbus/internal/limits"
	"credbus/internal/manager"
	"credbus/internal/sealkeys"
	"credbus/subjects"
)

// Config holds a Service's parts and settings. Those of the first group are
// required.
type Config struct {
	Conn    *nats.Conn
	Manager *manager.Manager
	Keys    *sealkeys.Keys // that jobs are sealed to; the caller runs them
	// Applied returns the revision that this replica has applied.
	Applied func() subjects.Revision
	// Last returns the revision of the last change event of a credential, or
	// zero if none is known.
	Last func(context.Context, subjects.Target) (subjects.Revision, error)
	// Served returns how many requests the worker has answered so far.
	Served func() int64
	Name   string // unique to this run of this worker

	Prefix   subjects.Prefix // default subjects.DefaultPrefix
	Strict   bool            // refuse jobs with unknown fields
	Stream   string          // name of the queue's stream; the names of the other streams begin with it; default CREDBUS_JOBS
	Replicas int             // copies of the streams; default 1
	MaxBytes int64           // limit of the queue; a full queue accepts nothing; default 1 GiB
	// MaxStatusBytes bounds the statuses of jobs; if they are full, no job
	// begins. MaxDeadBytes bounds the dead letters; if they are full, the
	// oldest go. Default 256 MiB each.
	MaxStatusBytes, MaxDeadBytes int64
	Audit                        *audit.Log // records the items of jobs; nil: nothing is recorded
	// Queued are the most jobs that scopes may have in the queue.
	Queued []limits.Rule
	// MaxDelay is how far ahead a job's NotBefore may be. Default 7 days.
	MaxDelay time.Duration
	// Keep is how long the status of a job is kept, KeepDead how long a dead
	// letter is kept. Defaults 24 h and 7 days.
	Keep, KeepDead time.Duration
	// Concurrency is how many jobs are run at once, ItemConcurrency how many
	// items of each, BatchItems the most items that the manager takes as one
	// batch. Defaults 2, 10 and 100.
	Concurrency, ItemConcurrency, BatchItems int
	// Share is how much of its time, in percent, a worker gives to jobs while
	// requests come in; 100 for no such limit. Default 10.
	Share int
	// Attempts is how often a job is begun before it is given up. Backoff is
	// the pause after the first attempt; it doubles with each, up to five
	// minutes. Defaults 10 and 1 s.
	Attempts int
	Backoff  time.Duration
	// AckWait is how long a worker may be silent before its job is given to
	// another. Default 30 s.
	AckWait time.Duration
	// Clock is the clock of this machine, which may be wrong. Default time.Now.
	Clock  func() time.Time
	Logger *slog.Logger // default slog.Default()
}

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = subjects.DefaultPrefix
	}
	if c.Stream == "" {
		c.Stream = "CREDBUS_JOBS"
	}
	if c.Replicas <= 0 {
		c.Replicas = 1
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 1 << 30
	}
	if c.MaxStatusBytes <= 0 {
		c.MaxStatusBytes = 256 << 20
	}
	if c.MaxDeadBytes <= 0 {
		c.MaxDeadBytes = 256 << 20
	}
	if c.MaxDelay <= 0 {
		c.MaxDelay = 7 * 24 * time.Hour
	}
	if c.Keep <= 0 {
		c.Keep = 24 * time.Hour
	}
	if c.KeepDead <= 0 {
		c.KeepDead = 7 * 24 * time.Hour
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 2
	}
	if c.ItemConcurrency <= 0 {
		c.ItemConcurrency = 10
	}
	if c.BatchItems <= 0 {
		c.BatchItems = subjects.MaxBatchItems
	}
	if c.Share <= 0 || c.Share > 100 {
		c.Share = 10
	}
	if c.Attempts <= 0 {
		c.Attempts = 10
	}
	if c.Backoff <= 0 {
		c.Backoff = time.Second
	}
	if c.AckWait <= 0 {
		c.AckWait = 30 * time.Second
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Service runs jobs, and answers requests about them.
type Service struct {
	config   Config
	js       jetstream.JetStream
	queue    jetstream.Stream
	consumer jetstream.Consumer
	ledger   *ledger
	letters  *letters
	clock    clock
	pace     *pace
	backlogs *backlogs   // nil without limits
	full     atomic.Bool // there is no room for the statuses of more jobs
	troubles troubles    // problems that keep jobs from being done
	notices  troubles    // problems that do not

	// taking ends when the Service must take no more jobs. running ends when
	// the running ones must stop.
	taking, running      context.Context
	stopTaking, stopRuns context.CancelFunc
	goroutines           sync.WaitGroup
	started              atomic.Bool
	life                 lifecycle.Part
}

// New makes missing streams and brings the settings of the others up to date.
// The Service takes no job before Start.
func New(ctx context.Context, config Config) (*Service, error) {
	if config.Conn == nil || config.Manager == nil || config.Keys == nil || config.Applied == nil || config.Last == nil || config.Served == nil || config.Name == "" {
		return nil, errors.New("jobs: Conn, Manager, Keys, Applied, Last, Served and Name are required")
	}
	s := &Service{config: config.withDefaults()}
	s.clock.local = s.config.Clock
	s.troubles.logger, s.notices.logger = s.config.Logger, s.config.Logger
	s.pace = newPace(s.config.Served, s.config.Share)
	s.backlogs = newBacklogs(s.config.Queued)
	s.taking, s.stopTaking = context.WithCancel(context.Background())
	s.running, s.stopRuns = context.WithCancel(context.Background())
	var err error
	if s.js, err = jetstream.New(s.config.Conn); err != nil {
		return nil, err
	}
	opened, err := s.openStreams(ctx)
	if err != nil {
		return nil, err
	}
	s.queue, s.consumer = opened.queue, opened.consumer
	s.ledger = &ledger{js: s.js, stream: opened.statuses, prefix: s.config.Prefix, now: s.clock.now}
	s.letters = &letters{js: s.js, stream: opened.dead, prefix: s.config.Prefix}
	return s, s.look(ctx)
}

// MaxDelay is how far ahead a job's NotBefore may be.
func (s *Service) MaxDelay() time.Duration { return s.config.MaxDelay }

// Start takes jobs until Close. See package lifecycle.
func (s *Service) Start(ctx context.Context) error { return s.life.Start(ctx, s.start) }

func (s *Service) start(ctx context.Context) error {
	accepted, err := s.subscribe(ctx)
	if err != nil {
		return err
	}
	s.goroutines.Go(func() { s.acceptAll(accepted) })
	s.goroutines.Go(s.acceptBacklog)
	s.goroutines.Go(s.keepLooking)
	for range s.config.Concurrency {
		s.goroutines.Go(s.take)
	}
	s.started.Store(true)
	return nil
}

// Ready returns why jobs cannot be taken or ended now, or nil.
func (s *Service) Ready() error {
	if !s.started.Load() {
		return errors.New("jobs are not started")
	}
	return s.troubles.err()
}

// Close takes no more jobs. Running jobs stop after their current items, and
// another worker goes on with them. Close abandons jobs that still run when ctx
// ends; another worker takes them when AckWait has passed.
func (s *Service) Close(ctx context.Context) error { return s.life.Close(ctx, s.stop) }

func (s *Service) stop(ctx context.Context) error {
	s.stopTaking()
	inTime := context.AfterFunc(ctx, s.stopRuns)
	s.goroutines.Wait()
	s.stopRuns()
	if !inTime() {
		return ctx.Err()
	}
	return nil
}

// The troubles of a Service, named by what does not work.
const (
	cannotTake        = "jobs cannot be taken from the queue"
	cannotHear        = "reports of accepted jobs do not arrive, so their statuses are late"
	cannotAcknowledge = "jobs that have ended cannot be taken off the queue"
	cannotBegin       = "jobs cannot be begun"
	cannotLook        = "the streams of jobs do not answer"
	noRoom            = "no jobs are begun, since there is no room for their statuses"
)

// take runs jobs, one at a time. It asks for a job only when it has room, so
// that waiting jobs stay in the queue.
func (s *Service) take() {
	const (
		wait      = 30 * time.Second // of one request for a job
		heartbeat = 5 * time.Second  // from the server meanwhile; without it, the request was refused or lost
		pause     = time.Second      // after an error
	)
	for s.taking.Err() == nil {
		ctx, cancel := context.WithTimeout(s.taking, wait)
		msg, err := s.consumer.Next(jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(heartbeat))
		cancel()
		switch {
		case err == nil && s.taking.Err() == nil:
			s.troubles.over(cannotTake)
			s.run(msg)
		case err == nil:
			_ = msg.Nak() // for another worker; if it gets lost, after AckWait
		case s.taking.Err() != nil:
		case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
			s.troubles.over(cannotTake)
		default:
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				err = fmt.Errorf("%w: may this worker publish to $JS.API.CONSUMER.MSG.NEXT.%s.%s, and has the cluster a leader?", err, s.config.Stream, consumerName)
			}
			s.troubles.note(cannotTake, err)
			s.sleep(pause)
			s.reopen(err)
		}
	}
}

// reopen makes the streams and the consumer again if somebody deleted them.
func (s *Service) reopen(err error) {
	if !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) &&
		!errors.Is(err, jetstream.ErrConsumerDeleted) && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, jetstream.ErrNoStreamResponse) {
		return
	}
	ctx, cancel := context.WithTimeout(s.taking, apiTimeout)
	defer cancel()
	// Everything refers to them by name.
	if _, err := s.openStreams(ctx); err != nil && s.taking.Err() == nil {
		s.troubles.note(cannotTake, err)
	}
}

func (s *Service) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.taking.Done():
	}
}
