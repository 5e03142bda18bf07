package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// lastKnown answers a read that failed with err from what was read last, marked as stale,
// if the store could not be reached. A store that refuses is there, and means it.
//
// A change event drops what is known like a cache entry, so it is always the newest version
// that any worker wrote.
func (r *Reader) lastKnown(ctx context.Context, dst []byte, key subjects.Target, min subjects.Revision, err error) (found answer, ok bool) {
	if r.caching.LastKnown == nil || !outage(err) {
		return answer{}, false
	}
	// A store that hangs takes longer than the replica's lease lives when nothing
	// else is asked meanwhile.
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
	r.config.Logger.Debug("answered with what was read last, since the store cannot be reached", "scope", key.Scope, "id", key.ID, "error", err)
	return answer{reply: reply, exists: true, inheritable: flags&inheritable != 0}, true
}

// errLate stands for what a store that hangs will fail with when the caller is gone.
var errLate = fmt.Errorf("%w: the store has not answered within the caller's time", store.ErrTimeout)

// late tells when a caller who waits for the store has to be answered from what is
// known, if at all: many give less time than a store is given.
func (r *Reader) late(ctx context.Context) (at <-chan time.Time, stop func()) {
	deadline, ok := ctx.Deadline()
	if r.caching.LastKnown == nil || !ok {
		return nil, func() {}
	}
	const most = 250 * time.Millisecond // for the way back
	left := time.Until(deadline)
	timer := time.NewTimer(left - min(left/4, most))
	return timer.C, func() { timer.Stop() }
}

// outage reports whether err is a fault of the way to the store.
func outage(err error) bool {
	if errors.Is(err, store.ErrPermission) {
		return false
	}
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}
