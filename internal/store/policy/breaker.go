package policy

import (
	"fmt"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"credbus/internal/store"
)

// Calls are those that a breaker is for. Reads and writes have one each, because a
// store that takes no writes, or is slow to, may read as ever.
type Calls string

// The calls of a store: Reads are Get, GetBatch and List, Writes are Put and Delete.
const (
	Reads  Calls = "reads"
	Writes Calls = "writes"
)

// State is that of a breaker.
type State string

// The states of a breaker.
const (
	Closed   State = "closed"    // every call reaches the store
	Open     State = "open"      // none does
	HalfOpen State = "half-open" // one does, as a probe
)

// Change is a change of a breaker's state.
type Change struct {
	Calls Calls // whose breaker it is
	State State
	// Other is the state of the other breaker. That of writes closes with that of
	// reads, because the outage of the store is over: no Change of its own says so.
	Other State
	// Since is when the breaker left Closed, in each change up to the one that
	// says it is back.
	Since time.Time
	// Probe is when the next call is let through; of Open only.
	Probe time.Time
	// Err is the failure that opened it; of Open only.
	Err error
}

// verdict is what came of a try, for the breaker.
type verdict int

const (
	present verdict = iota // the store answered
	failing
	unknown // nothing was learned of the store
)

// failingFor is for how long every try must have failed for a store to be left
// alone although there were few. Without it, one that hangs would go unnoticed for
// hours where it is seldom asked.
const failingFor = 10 * time.Second

// breaker is failsafe-go's, with what that one lacks: a permit that can be given
// back, results that come too late to mean anything, and words.
type breaker struct {
	calls    Calls
	failures int
	delay    time.Duration
	changed  func(Change)

	mu      *sync.Mutex // of both breakers, so that their changes come one after the other
	other   *breaker
	circuit circuitbreaker.CircuitBreaker[struct{}] // nil: there is none
	permit  int                                     // counts the changes: results of a permit from before one are dropped
	row     int                                     // tries that failed since one did not
	failing time.Time                               // when the first of them had failed
	opened  int                                     // row, when the breaker left Closed
	current Change
	last    error // that was recorded
	silent  bool  // no change is one
}

func newBreakers(config Config) (reads, writes *breaker) {
	both := new(sync.Mutex)
	reads, writes = newBreaker(config, Reads, both), newBreaker(config, Writes, both)
	reads.other, writes.other = writes, reads
	return reads, writes
}

func newBreaker(config Config, calls Calls, both *sync.Mutex) *breaker {
	b := &breaker{
		calls: calls, failures: config.BreakerFailures, delay: config.BreakerDelay, changed: config.Changed,
		mu: both, current: Change{State: Closed},
	}
	if b.failures <= 0 {
		return b
	}
	if b.delay <= 0 {
		b.delay = 5 * time.Second
	}
	b.circuit = circuitbreaker.NewBuilder[struct{}]().
		WithFailureThreshold(uint(b.failures)).
		WithSuccessThreshold(1). // which is also how many probes there are at once
		WithDelay(b.delay).
		OnStateChanged(b.changedLocked).
		Build()
	return b
}

// acquire lets a try through, or says why not. Every permit is to be recorded.
func (b *breaker) acquire() (permit int, err error) {
	if b.circuit == nil {
		return 0, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.circuit.TryAcquirePermit() {
		return b.permit, nil
	}
	next := "a probe is under way"
	if b.current.State == Open {
		next = fmt.Sprintf("the next call is let through at %s", clock(b.current.Probe))
	}
	return 0, fmt.Errorf("%w: the breaker of %s is open since %s, when %d calls in a row had failed: %s; the worker's log of that time has the reason",
		store.ErrOpen, b.calls, clock(b.current.Since), b.opened, next)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// record tells what came of a try that was let through.
func (b *breaker) record(permit int, v verdict, err error) {
	if b.circuit == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case permit != b.permit:
		// It began before the last change, and says nothing of what is now.
	case v == failing:
		b.last = err
		if b.row++; b.row == 1 {
			b.failing = time.Now()
		}
		b.circuit.RecordFailure()
		if b.circuit.IsClosed() && time.Since(b.failing) >= failingFor {
			b.circuit.Open()
		}
	case v == present:
		b.row = 0
		b.circuit.RecordSuccess()
	case b.current.State == HalfOpen:
		// The caller of the probe left: the next is the probe. failsafe-go
		// cannot take a permit back, but a new half-open state has one.
		b.silent = true
		b.circuit.Close()
		b.circuit.HalfOpen()
		b.silent = false
	}
}

// changedLocked is called by the circuit, inside acquire and record.
func (b *breaker) changedLocked(event circuitbreaker.StateChangedEvent) {
	if b.silent {
		return
	}
	b.permit++
	now := time.Now()
	next := Change{Calls: b.calls, State: Closed, Since: b.current.Since}
	switch event.NewState {
	case circuitbreaker.OpenState:
		next.State, next.Probe, next.Err = Open, now.Add(b.delay), b.last
		if event.OldState == circuitbreaker.ClosedState {
			next.Since, b.opened = now, b.row
		}
	case circuitbreaker.HalfOpenState:
		next.State = HalfOpen
	case circuitbreaker.ClosedState:
		if b.calls == Reads {
			b.other.closeLocked()
		}
	}
	next.Other = b.other.current.State
	b.current, b.last = next, nil
	if b.changed != nil {
		b.changed(next)
	}
}

// closeLocked closes the breaker and tells nobody. One that is closed keeps the
// failures it has counted.
func (b *breaker) closeLocked() {
	if b.current.State == Closed {
		return
	}
	b.silent = true
	b.circuit.Close()
	b.silent = false
	b.permit++
	b.row, b.last = 0, nil
	b.current = Change{State: Closed}
}
