package policy

import (
	"fmt"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"credbus/internal/store"
)

// Calls names the calls that a breaker guards. Reads and writes have a breaker
// each, because a store that refuses or delays writes may still read well.
type Calls string

// The two kinds of calls: Reads are Get, GetMulti and List, Writes are Put and
// Delete.
const (
	Reads  Calls = "reads"
	Writes Calls = "writes"
)

// State is the state of a breaker.
type State string

// The states of a breaker.
const (
	Closed   State = "closed"    // every call reaches the store
	Open     State = "open"      // none does
	HalfOpen State = "half-open" // one does, as a probe
)

// Change is a change of a breaker's state.
type Change struct {
	Calls Calls // the calls of the breaker
	State State
	// Other is the state of the other breaker. When the breaker of reads
	// closes, the outage is over and that of writes closes too: there is no
	// separate Change for it.
	Other State
	// Since is when the breaker left Closed. Each change up to the return to
	// Closed has it.
	Since time.Time
	// Probe is when the next call may pass; only with Open.
	Probe time.Time
	// Err is the failure that opened it; only with Open.
	Err error
}

// verdict is the result of a try for the breaker.
type verdict int

const (
	present verdict = iota // the store answered
	failing
	unknown // nothing was learned of the store
)

// failingFor is the time after which a few failures open the breaker, if every
// try in it failed. Otherwise a store with few calls could hang for hours
// unnoticed.
const failingFor = 10 * time.Second

// breaker is the one of failsafe-go with three additions: permits can be
// returned, late results are ignored, and errors have texts.
type breaker struct {
	calls    Calls
	failures int
	delay    time.Duration
	changed  func(Change)

	mu      *sync.Mutex // of both breakers, so that their changes do not overlap
	other   *breaker
	circuit circuitbreaker.CircuitBreaker[struct{}] // nil: there is none
	permit  int                                     // counts the changes; results with the permit of an earlier state are dropped
	row     int                                     // failed tries since the last success
	failing time.Time                               // when the first of them failed
	opened  int                                     // row, when the breaker left Closed
	current Change
	last    error // the last recorded error
	silent  bool  // do not report changes
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
		WithSuccessThreshold(1). // also the number of simultaneous probes
		WithDelay(b.delay).
		OnStateChanged(b.changedLocked).
		Build()
	return b
}

// acquire lets a try pass, or returns why not. The caller must record every
// permit.
func (b *breaker) acquire() (permit int, err error) {
	if b.circuit == nil {
		return 0, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.circuit.TryAcquirePermit() {
		return b.permit, nil
	}
	next := "a probe is running"
	if b.current.State == Open {
		next = fmt.Sprintf("the next call may pass at %s", clock(b.current.Probe))
	}
	return 0, fmt.Errorf("%w: the breaker of %s has been open since %s, after %d calls in a row failed: %s; the worker's log of that time has the reason",
		store.ErrOpen, b.calls, clock(b.current.Since), b.opened, next)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// record records the result of a try that passed.
func (b *breaker) record(permit int, v verdict, err error) {
	if b.circuit == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case permit != b.permit:
		// The try began before the last change, so it does not show the current
		// state.
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
		// The caller of the probe left, so the next call must probe.
		// failsafe-go cannot take a permit back, but a new half-open state has
		// one.
		b.silent = true
		b.circuit.Close()
		b.circuit.HalfOpen()
		b.silent = false
	}
}

// The circuit calls changedLocked inside acquire and record.
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

// closeLocked closes the breaker without reporting it. A closed breaker keeps
// its count of failures.
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
