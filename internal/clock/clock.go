package clock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"credbus/internal/lifecycle"
)

// State says whether two clocks agree.
type State int

// The states, the worse the later.
const (
	Agrees  State = iota
	Differs       // they differ by more than Config.Warn
	Exceeds       // they differ by more than Config.Max
)

// Reading is the result of a measurement.
type Reading struct {
	// Offset is the server's time minus the local one.
	Offset time.Duration
	// Uncertainty is by how much Offset may be wrong, in either direction.
	Uncertainty time.Duration
	State       State
}

// String says in which direction the local clock is off, and how far, such as "3.21s ahead of the
// NATS server, ±400µs".
func (r Reading) String() string {
	way := "ahead of"
	if r.Offset > 0 {
		way = "behind"
	}
	return fmt.Sprintf("%v %s the NATS server, ±%v", short(r.Offset.Abs()), way, short(r.Uncertainty))
}

// short leaves out digits that carry no information.
func short(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// Config says how to measure, and how to judge the result.
type Config struct {
	// Ask asks the server for its time.
	Ask func(context.Context) (time.Time, error)
	// Now is the local time. Default time.Now.
	Now func() time.Time
	// Warn is the greatest difference at which the clocks still agree. Default 1 s.
	Warn time.Duration
	// Max is the greatest difference before the state is Exceeds. Zero: there is no limit.
	Max time.Duration
	// Every is how often Run measures. Default 1 min.
	Every time.Duration
	// Changed is called after each change of the state. May be nil. The state before the
	// first measurement is Agrees.
	Changed func(Reading)
	// Failed is called when the server cannot be asked. May be nil.
	Failed func(error)
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Warn <= 0 {
		c.Warn = time.Second
	}
	if c.Every <= 0 {
		c.Every = time.Minute
	}
	if c.Changed == nil {
		c.Changed = func(Reading) {}
	}
	if c.Failed == nil {
		c.Failed = func(error) {}
	}
	return c
}

const (
	samples  = 5               // requests in a measurement
	patience = 2 * time.Second // for all requests of a measurement
	retry    = 5 * time.Second // after a failed measurement
)

// Watch compares the local clock with that of a server. Its methods may be called
// concurrently.
type Watch struct {
	config    Config
	running   lifecycle.Turn
	measuring sync.Mutex // one measurement at a time
	last      atomic.Pointer[Reading]
}

// New returns a watch that has not measured yet.
func New(config Config) *Watch { return &Watch{config: config.withDefaults()} }

// Last returns the last successful measurement. If ok is false, there was none yet.
func (w *Watch) Last() (reading Reading, ok bool) {
	if last := w.last.Load(); last != nil {
		return *last, true
	}
	return Reading{}, false
}

// Measure compares the clocks now. If the server cannot be asked, Measure calls
// Config.Failed, and Last stays unchanged.
func (w *Watch) Measure(ctx context.Context) error {
	w.measuring.Lock()
	defer w.measuring.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reading, err := w.sample(ctx)
	if err != nil {
		w.config.Failed(err)
		return err
	}
	before, _ := w.Last()
	reading.State = w.judge(reading, before.State)
	w.last.Store(&reading)
	if reading.State != before.State {
		w.config.Changed(reading)
	}
	return nil
}

// sample asks a few times, and returns the most exact answer.
func (w *Watch) sample(ctx context.Context) (best Reading, err error) {
	found := false
	for range samples {
		sent, began := w.config.Now(), time.Now()
		server, failed := w.config.Ask(ctx)
		if failed == nil && server.IsZero() {
			failed = errors.New("the server does not report its time")
		}
		if failed != nil {
			err = failed
			break
		}
		// The wall clock and the monotonic clock differ if the clock was set, or the machine
		// slept, during the request. The longer time counts.
		half := max(w.config.Now().Round(0).Sub(sent.Round(0)).Abs(), time.Since(began)) / 2
		if !found || half < best.Uncertainty {
			best = Reading{Offset: server.Sub(sent.Add(half)), Uncertainty: half}
		}
		found = true
	}
	if found {
		err = nil
	}
	return best, err
}

// judge returns the state that follows from a measurement. If several states are possible,
// it returns the one nearest to the state before.
func (w *Watch) judge(reading Reading, before State) State {
	offset := reading.Offset.Abs()
	least, most := w.stateAt(offset-reading.Uncertainty), w.stateAt(offset+reading.Uncertainty)
	return min(max(before, least), most)
}

func (w *Watch) stateAt(offset time.Duration) State {
	switch {
	case w.config.Max > 0 && offset > w.config.Max:
		return Exceeds
	case offset > w.config.Warn:
		return Differs
	}
	return Agrees
}

// Run measures every Config.Every, and whenever it receives from again, until ctx ends.
// After a failed measurement it measures again sooner.
func Run[T any](ctx context.Context, w *Watch, again <-chan T) {
	w.running.Do(ctx, func() { run(ctx, w, again) })
}

func run[T any](ctx context.Context, w *Watch, again <-chan T) {
	timer := time.NewTimer(w.config.Every)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case _, open := <-again:
			if !open {
				again = nil
				continue
			}
		case <-ctx.Done():
			return
		}
		wait := w.config.Every
		if err := w.Measure(ctx); err != nil {
			wait = min(wait, retry)
		}
		timer.Reset(wait)
	}
}
