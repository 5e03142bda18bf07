package integration

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"credbus/client"
	"credbus/internal/history"
)

// record is what the clients of a load did and saw. Its times count from its start.
type record struct {
	history.History
	start time.Time

	writes, reads atomic.Int64 // acknowledged, answered

	mu     sync.Mutex
	errors []failure
}

// failure is a request that ended in an error, by kind.
type failure struct {
	kind       string
	begin, end time.Duration
	err        error
}

func newRecord() *record { return &record{start: time.Now()} }

// now is the time as the history counts it.
func (r *record) now() time.Duration { return time.Since(r.start) }

// done records an operation that ends now.
func (r *record) done(op history.Op) {
	op.End = r.now()
	if op.Outcome == history.OK {
		if op.Kind == history.Read {
			r.reads.Add(1)
		} else {
			r.writes.Add(1)
		}
	}
	r.Add(op)
}

func (r *record) failed(begin time.Duration, err error) {
	f := failure{kindOf(err), begin, r.now(), err}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, f)
}

// saw records a read by what it returned. A read that failed has seen nothing.
func (r *record) saw(op history.Op, value []byte, err error) {
	switch {
	case err == nil:
		op.Value = stateOf(op.Key, value)
	case errors.Is(err, client.ErrNotFound):
	default:
		r.failed(op.Begin, err)
		return
	}
	r.done(op)
}

// stateOf is a value as the history names it: the number of its write or, if it is no
// valid value, the error, which no write has as its name.
func stateOf(key string, value []byte) string {
	seq, err := seqOf(key, value)
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(seq)
}

// verdict lists what is wrong with a history.
type verdict struct {
	ages     history.Ages
	sessions history.SessionFaults
	lost     []string
}

// judge checks a history that has ended, with the final state of each key, against the
// promises of credbus.
func (r *record) judge(final map[string]string) verdict {
	ops := r.Ops()
	commits := history.CommitsOf(ops)
	return verdict{history.Staleness(ops, commits), history.Sessions(ops, commits), history.Lost(ops, commits, final)}
}

// summary is the history in one line.
func (r *record) summary(v verdict) string {
	kinds := make(map[string]int)
	for _, f := range r.errors {
		kinds[f.kind]++
	}
	return fmt.Sprintf("reads=%d acked-writes=%d errors=%v lost=%d stale=%d wrong=%d back=%d",
		r.reads.Load(), r.writes.Load(), kinds, len(v.lost), v.ages.Stale, len(v.ages.Wrong), v.sessions.Count())
}
