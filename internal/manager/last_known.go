package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// lastKnown answers a read that failed with err from the last state read,
// marked as stale, if the store could not be reached. It does not do so for a
// store that refused the read.
//
// A change event drops this state like a cache entry, so it is always the
// newest version that any worker wrote.
func (r *Reader) lastKnown(ctx context.Context, dst []byte, key subjects.Target, min subjects.Revision, err error) (found answer, ok bool) {
	if r.caching.LastKnown == nil || !outage(err) {
		return answer{}, false
	}
	// A store that hangs takes longer than the replica's lease, if no other
	// request extends the lease.
	r.config.Replica.Renew(ctx)
	look := r.config.Replica.Look()
	if !look.Reached(min) {
		return answer{}, false
	}
	reply, flags, ok := r.caching.LastKnown.Get(dst, []byte(key.Scope), []byte(key.ID))
	switch {
	case !ok:
		return answer{}, false
	case !look.Live():
		clear(reply[len(dst):])
		return answer{}, false
	}
	r.config.Logger.Debug("answered with the last known credential, since the store cannot be reached", "scope", key.Scope, "id", key.ID, "error", err)
	return answer{reply: reply, exists: true, inheritable: flags&inheritable != 0}, true
}

// errLate stands for the error of a store that hangs, which would arrive after
// the caller's time.
var errLate = fmt.Errorf("%w: the store has not answered within the caller's time", store.ErrTimeout)

// late fires when a caller that waits for the store must be answered from the
// last known state, if at all. Many callers allow less time than a store has.
func (r *Reader) late(ctx context.Context) (at <-chan time.Time, stop func()) {
	deadline, ok := ctx.Deadline()
	if r.caching.LastKnown == nil || !ok {
		return nil, func() {}
	}
	const most = 250 * time.Millisecond // for the reply to reach the caller
	left := time.Until(deadline)
	timer := time.NewTimer(left - min(left/4, most))
	return timer.C, func() { timer.Stop() }
}

// outage reports whether err means that the store cannot be reached.
func outage(err error) bool {
	if errors.Is(err, store.ErrPermission) {
		return false
	}
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}
