package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"credbus/subjects"
)

const (
	// gathering is for how long a writer waits for more records before it writes, if no
	// request waits for it: many records in one write cost much less.
	gathering = 10 * time.Millisecond
	// retryEvery is the pause before a block is written again.
	retryEvery = 500 * time.Millisecond
	// noteEvery is how often the log of the worker gets the newest hash.
	noteEvery = time.Hour
	// hanging is how long a write may take before the sink counts as hanging.
	hanging = Patience
)

var errClosed = errors.New("the audit log is closed")

// group is the records that are taken from the queue together.
type group struct {
	done chan struct{} // closed once err is set
	err  error
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// writer writes to one sink.
type writer struct {
	config *Config
	sink   Sink
	chain  *chain
	own    line      // of records about the log
	noted  time.Time // when the log of the worker last got a hash
	warn   rate.Sometimes

	ctx     context.Context // of writes; ends when a Close has no more time
	abandon context.CancelFunc
	wake    chan struct{}
	ended   chan struct{}
	closed  error // once ended is closed

	mu       sync.Mutex
	pending  []byte
	spare    []byte
	records  int // pending
	next     *group
	unsaid   int64 // lost, and not yet in the log itself
	lost     int64
	written  int64
	begun    time.Time // of the write under way
	failing  error
	since    time.Time // of failing
	ending   bool
	reopen   bool
	lastLost time.Time
}

func newWriter(config *Config, sink Sink, head Head) *writer {
	w := &writer{
		config: config, sink: sink, chain: newChain(head), own: line{worker: config.Worker},
		wake: make(chan struct{}, 1), ended: make(chan struct{}), next: newGroup(), noted: time.Now(),
	}
	w.warn.Interval = time.Minute
	w.ctx, w.abandon = context.WithCancel(context.Background())
	w.pending = w.about(nil, Started, 0)
	w.records = 1
	w.rouse()
	return w
}

// about appends a record of the writer itself.
func (w *writer) about(dst []byte, command string, lost int64) []byte {
	dst = w.own.begin(dst, time.Now().UnixMicro(), command)
	dst = append(dst, `,"scope":"","outcome":"ok","authority":""`...)
	if lost > 0 {
		dst = strconv.AppendInt(append(dst, `,"lost":`...), lost, 10)
	}
	return append(dst, "}\n"...)
}

func (w *writer) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// queue adds lines to those that wait. It returns the group that they are written with, nil if
// they are lost.
func (w *writer) queue(lines []byte, records int) *group {
	if records == 0 {
		return nil
	}
	w.mu.Lock()
	if w.ending || len(w.pending)+len(lines) > w.config.Queue {
		w.lost += int64(records)
		w.unsaid += int64(records)
		w.lastLost = time.Now()
		lost := w.lost
		w.mu.Unlock()
		w.warn.Do(func() {
			w.config.Logger.Error("records of commands are lost, because the audit log does not take them", "sink", w.sink.Name(), "lost", lost)
		})
		return nil
	}
	first := len(w.pending) == 0
	w.pending = append(w.pending, lines...)
	w.records += records
	g := w.next
	if w.failing != nil || w.hangsLocked() {
		g = nil // they are written later, but nobody should wait for that
	}
	w.mu.Unlock()
	if first {
		w.rouse()
	}
	return g
}

// run writes until end.
func (w *writer) run() {
	defer close(w.ended)
	for ending := false; ; {
		select {
		case <-w.wake:
		case <-w.ctx.Done():
		}
		if !w.config.Required {
			w.gather()
		}
		for {
			w.mu.Lock()
			ending = w.ending
			w.mu.Unlock()
			if !w.flush() {
				break
			}
		}
		if ending || w.ctx.Err() != nil {
			break
		}
	}
	if w.ctx.Err() == nil {
		w.store(w.about(nil, Stopped, 0), 1, nil)
	}
	w.noteHash("the audit log ends here")
	w.closed = w.sink.Close()
	if n := w.stats().Lost; n > 0 {
		w.config.Logger.Error("records of commands were lost", "sink", w.sink.Name(), "lost", n)
	}
}

// noteHash writes the newest hash to the log of the worker.
func (w *writer) noteHash(what string) {
	w.noted = time.Now()
	w.config.Logger.Info(what+"; keep this hash elsewhere to prove later that nothing before it was changed",
		"sink", w.sink.Name(), "chain", w.chain.head.Chain, "record", w.chain.head.Seq, "hash", w.chain.head.Hash)
}

// gather waits a moment for more records.
func (w *writer) gather() {
	timer := time.NewTimer(gathering)
	defer timer.Stop()
	w.mu.Lock()
	ending := w.ending
	w.mu.Unlock()
	if ending {
		return
	}
	select {
	case <-timer.C:
	case <-w.ctx.Done():
	}
}

// flush writes the records that wait. It reports false if there are none.
func (w *writer) flush() bool {
	w.mu.Lock()
	lines, records, g, unsaid, reopen := w.pending, w.records, w.next, w.unsaid, w.reopen
	w.pending, w.records, w.next, w.reopen = w.spare[:0], 0, newGroup(), false
	w.spare, w.unsaid = nil, 0
	w.mu.Unlock()
	if reopen {
		if r, ok := w.sink.(interface{ Reopen() }); ok {
			r.Reopen()
		}
	}
	if unsaid > 0 {
		w.store(w.about(nil, Lost, unsaid), 1, g)
	}
	for rest := lines; len(rest) > 0; {
		n := len(rest)
		if n > maxBlock {
			n = bytes.LastIndexByte(rest[:maxBlock], '\n') + 1
		}
		if n == 0 { // no record is that long, but a loop would never end
			n = bytes.IndexByte(rest, '\n') + 1
		}
		part := bytes.Count(rest[:n], newline)
		w.store(rest[:n], part, g)
		rest, records = rest[n:], records-part
	}
	g.finish(nil)
	w.mu.Lock()
	if w.spare == nil {
		w.spare = lines[:0]
	}
	w.mu.Unlock()
	return len(lines) > 0 || unsaid > 0
}

// finish tells all who wait for a group. Only the first call counts.
func (g *group) finish(err error) {
	select {
	case <-g.done:
	default:
		g.err = err
		close(g.done)
	}
}

// store writes one block, and tries until it is stored or the log is abandoned.
func (w *writer) store(lines []byte, records int, g *group) {
	block, next := w.chain.seal(lines)
	for {
		if w.ctx.Err() != nil {
			w.lose(records)
			if g != nil {
				g.finish(errClosed)
			}
			return
		}
		w.mark(time.Now())
		err := w.sink.Write(w.ctx, block, next)
		w.mark(time.Time{})
		if err == nil {
			w.chain.advance(next)
			w.recovered(records)
			if time.Since(w.noted) >= noteEvery {
				w.noteHash("the audit log goes on")
			}
			return
		}
		w.failed(err, g)
		select {
		case <-time.After(retryEvery):
		case <-w.ctx.Done():
		}
	}
}

func (w *writer) mark(begun time.Time) {
	w.mu.Lock()
	w.begun = begun
	w.mu.Unlock()
}

func (w *writer) lose(records int) {
	w.mu.Lock()
	w.lost += int64(records)
	w.mu.Unlock()
}

func (w *writer) failed(err error, g *group) {
	w.mu.Lock()
	if w.failing == nil {
		w.since = time.Now()
		w.config.Logger.Error("the audit log cannot be written; its records wait in memory until it can be, or their queue is full", "sink", w.sink.Name(), "required", w.config.Required, "error", err)
	}
	w.failing = err
	next := w.next
	w.next = newGroup()
	w.mu.Unlock()
	if g != nil {
		g.finish(err)
	}
	next.finish(err)
}

func (w *writer) recovered(records int) {
	w.mu.Lock()
	was, since := w.failing, w.since
	w.failing = nil
	w.written += int64(records)
	lost := w.lost
	w.mu.Unlock()
	if was != nil {
		w.config.Logger.Warn("the audit log can be written again", "sink", w.sink.Name(), "after", time.Since(since).Round(time.Millisecond), "lost", lost)
	}
}

func (w *writer) hangsLocked() bool { return !w.begun.IsZero() && time.Since(w.begun) > hanging }

// recently is for how long lost records are a problem of the worker's health.
const recently = time.Minute

// problem returns what is wrong now.
func (w *writer) problem() (Problem, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := Problem{Sink: w.sink.Name(), Since: w.since, Lost: w.lost}
	switch {
	case w.failing != nil:
		p.State = StateFailing
	case w.hangsLocked():
		p.State, p.Since = StateHanging, w.begun
	case len(w.pending) > w.config.Queue*9/10:
		p.State, p.Since = StateFull, w.begun
	case !w.lastLost.IsZero() && time.Since(w.lastLost) < recently:
		p.State, p.Since = StateLost, w.lastLost
	default:
		return p, false
	}
	return p, true
}

func (w *writer) stats() Stats {
	p, wrong := w.problem()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Stats{Sink: p.Sink, Written: w.written, Lost: w.lost, State: "ok"}
	if wrong {
		s.State = p.State
	}
	return s
}

// refusal is the error for a request that cannot be recorded. The error of the sink stays in
// the log of the worker.
func (w *writer) refusal() error {
	state := "did not take the record in time"
	if p, wrong := w.problem(); wrong {
		state = p.State
	}
	return subjects.Errorf(subjects.StorageUnavailable, "%s", fmt.Sprintf("the audit log, without which this worker answers nothing, %s: send the request again later; the worker's log says more", state))
}

// end lets run write what waits, and return.
func (w *writer) end() {
	w.mu.Lock()
	w.ending = true
	w.mu.Unlock()
	w.rouse()
}

func (w *writer) askReopen() {
	w.mu.Lock()
	w.reopen = true
	w.mu.Unlock()
	w.rouse()
}
