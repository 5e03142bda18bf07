package expiry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"credbus/internal/lifecycle"
	"credbus/internal/store"
	"credbus/subjects"
)

// Lister is the part of a store.Store that a Watch needs.
type Lister interface {
	List(ctx context.Context, opts store.ListOptions) (store.Page, error)
}

// Events is the stream of change events.
type Events interface {
	// End returns the place of the last event of all.
	End(ctx context.Context) (subjects.Revision, error)
	// Last returns the place of the last event of a credential. Its Seq is 0 if there
	// is none.
	Last(ctx context.Context, key subjects.Target) (subjects.Revision, error)
	// Holds reports whether an event stands after a place.
	Holds(ctx context.Context, event *subjects.Event, after subjects.Revision) (bool, error)
	// Tell publishes an event, if the last one of its credential still stands at after,
	// and reports whether it did. After an error it may have been published all the
	// same.
	Tell(ctx context.Context, event *subjects.Event, after subjects.Revision) (bool, error)
}

// Config holds a watch's settings.
type Config struct {
	// Stores by name. Each is swept on its own, so that one that fails does not keep
	// the others from being swept.
	Stores map[string]Lister // required
	// Keeper names the store that keeps a scope. Nobody reads what other stores have
	// of that scope. Default: each keeps all that it has.
	Keeper func(scope subjects.Scope) string
	Events Events // required
	Marks  Marks  // required
	Worker string // required: names this worker in events
	// Interval is how often the stores are swept. Default DefaultInterval.
	Interval time.Duration
	// Ahead are the times before the expiry of a credential at which it is announced.
	// None: only the expiry itself is announced.
	Ahead  []time.Duration
	Logger *slog.Logger // default slog.Default()
}

// DefaultInterval is how often the stores are swept.
const DefaultInterval = 10 * time.Minute

// pageSize is how many credentials are in memory at once. pageBytes is how much of it
// they may take, if the store can obey.
const (
	pageSize  = 200
	pageBytes = 1 << 20
)

// Watch finds credentials that expire.
type Watch struct {
	config Config
	names  []string        // of the stores
	ahead  []time.Duration // the nearest first

	running lifecycle.Turn
}

// New returns a watch, which sweeps while Run runs.
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
// fails is logged, and tried again the next time. See package lifecycle.
func (w *Watch) Run(ctx context.Context) { w.running.Do(ctx, func() { w.run(ctx) }) }

func (w *Watch) run(ctx context.Context) {
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
			w.config.Logger.Warn("expiring credentials could not be announced", "error", err, "retry", w.config.Interval)
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
	// end is where the events ended when the sweep began. A credential that was written
	// later may have another version than the list says: the next sweep looks at it.
	end subjects.Revision

	expiring, expired int // how many were announced
}

func (s *sweep) log() {
	if s.expiring+s.expired > 0 {
		s.config.Logger.Info("announced credentials that expire", "expiring", s.expiring, "expired", s.expired)
	}
}

// store sweeps one store. If the store cannot be listed, that is logged. An error is one of
// the streams, without which no other store can be swept either.
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
				return fmt.Errorf("%s: %w", record.Target, err)
			}
		}
		if options.After = page.Next; page.Next == "" {
			return nil
		}
	}
}

// due returns the nearest of the times ahead that a credential with that expiry has
// reached, zero if it has expired.
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

// event returns the event about the expiry of a credential.
func (w *Watch) event(record *store.Record, ahead time.Duration) subjects.Event {
	kind := subjects.EventExpiring
	if ahead == 0 {
		kind = subjects.EventExpired
	}
	return subjects.Event{
		Kind: kind, Target: record.Target, Version: record.Version, Revision: record.Revision,
		At: time.Now().UTC().Truncate(time.Millisecond), Replica: w.config.Worker, Expires: record.Expires,
	}
}
