package expiry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// Lister is the part of a store.Store that is needed.
type Lister interface {
	List(ctx context.Context, opts store.ListOptions) (store.Page, error)
}

// Events is the stream of change events.
type Events interface {
	// End returns the place of the last event of all.
	End(ctx context.Context) (subjects.Revision, error)
	// Last returns the place of the last event of a credential; its Seq is 0
	// where there is none.
	Last(ctx context.Context, key subjects.Target) (subjects.Revision, error)
	// Holds reports whether an event stands after a place.
	Holds(ctx context.Context, event *subjects.Event, after subjects.Revision) (bool, error)
	// Tell publishes an event, if the last one of its credential still stands at
	// after, and reports whether it did. After an error it may have been
	// published.
	Tell(ctx context.Context, event *subjects.Event, after subjects.Revision) (bool, error)
}

// Config holds a watch's settings.
type Config struct {
	// Stores by name; each is swept by itself, so that one that fails keeps
	// nobody from those of the others.
	Stores map[string]Lister // required
	// Keeper names the store that keeps a scope. What another one holds of it
	// nobody reads. Default: each keeps all that it holds.
	Keeper func(scope subjects.Scope) string
	Events Events // required
	Marks  Marks  // required
	Worker string // required: who found it
	// Interval is how often the stores are swept. Default DefaultInterval.
	Interval time.Duration
	// Ahead are the times before a credential expires at which that is told.
	// None: only that it has expired is.
	Ahead  []time.Duration
	Logger *slog.Logger // default slog.Default()
}

// DefaultInterval is how often the stores are swept.
const DefaultInterval = 10 * time.Minute

// pageSize is how many credentials are in memory at once, pageBytes how much of
// it they take where the store can obey.
const (
	pageSize  = 200
	pageBytes = 1 << 20
)

// Watch finds credentials that expire.
type Watch struct {
	config Config
	names  []string        // of the stores
	ahead  []time.Duration // the nearest first
}

// New returns a watch, which sweeps while Run does.
func New(config Config) *Watch {
	if config.Interval <= 0 {
		config.Interval = DefaultInterval
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Watch{
		config: config,
		names:  slices.Sorted(maps.Keys(config.Stores)),
		ahead:  slices.Sorted(slices.Values(config.Ahead)),
	}
}

// Run sweeps whenever it is time and no other worker did, until ctx ends. What
// fails is logged, and tried again the next time.
func (w *Watch) Run(ctx context.Context) {
	// Workers that are started together do not ask together.
	for wait := w.jitter(); sleep(ctx, wait); wait += w.jitter() {
		var err error
		if wait, err = w.config.Marks.Claim(ctx, w.config.Interval); err == nil && wait > 0 {
			continue
		}
		if err == nil {
			err = w.sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.config.Logger.Warn("credentials that expire could not be told of", "error", err, "retry", w.config.Interval)
		}
		wait = w.config.Interval
	}
}

func (w *Watch) jitter() time.Duration { return rand.N(w.config.Interval/10 + 1) }

// sleep reports whether ctx goes on after d.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// sweep looks at every credential once.
func (w *Watch) sweep(ctx context.Context) error {
	end, err := w.config.Events.End(ctx)
	if err != nil {
		return fmt.Errorf("ask for the end of the event stream: %w", err)
	}
	s := sweep{Watch: w, end: end}
	defer s.log()
	for _, name := range w.names {
		if err := s.store(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// sweep is one of all stores.
type sweep struct {
	*Watch
	// end is where the events ended when the sweep began. What was written after
	// that may be another version than is listed: the next sweep looks at it.
	end subjects.Revision

	expiring, expired int // that were told
}

func (s *sweep) log() {
	if s.expiring+s.expired > 0 {
		s.config.Logger.Info("told of credentials that expire", "expiring", s.expiring, "expired", s.expired)
	}
}

// store sweeps one store. A list that fails is logged; an error is one of the
// streams, without which no other store can be swept.
func (s *sweep) store(ctx context.Context, name string) error {
	options := store.ListOptions{Scope: subjects.Root, Limit: pageSize, Bytes: pageBytes}
	for {
		page, err := s.config.Stores[name].List(ctx, options)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.config.Logger.Warn("the store cannot be searched for credentials that expire", "store", name, "error", err, "retry", s.config.Interval)
			return nil
		}
		for i := range page.Records {
			record := &page.Records[i]
			if record.Damaged != "" || s.config.Keeper != nil && s.config.Keeper(record.Scope) != name {
				continue
			}
			ahead, due := s.due(record.Expires)
			if !due {
				continue
			}
			if err := s.tell(ctx, record, ahead); err != nil {
				return fmt.Errorf("%s: %w", record.Key, err)
			}
		}
		if options.After = page.Next; page.Next == "" {
			return nil
		}
	}
}

// due returns the nearest of the times ahead that a credential which expires
// then has reached, zero when it has expired.
func (w *Watch) due(expires time.Time) (ahead time.Duration, due bool) {
	if expires.IsZero() {
		return 0, false
	}
	left := time.Until(expires)
	if left <= 0 {
		return 0, true
	}
	for _, ahead := range w.ahead {
		if left <= ahead {
			return ahead, true
		}
	}
	return 0, false
}

// event says when a credential expires.
func (w *Watch) event(record *store.Record, ahead time.Duration) subjects.Event {
	kind := subjects.EventExpiring
	if ahead == 0 {
		kind = subjects.EventExpired
	}
	return subjects.Event{
		Kind: kind, Target: subjects.Target(record.Key), Version: record.Version, Revision: record.Revision,
		At: time.Now().UTC().Truncate(time.Millisecond), Replica: w.config.Worker, Expires: record.Expires,
	}
}
