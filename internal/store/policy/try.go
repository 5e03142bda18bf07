package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"

	"credbus/internal/store"
)

// bound returns the context of a call: the caller's, but ended early enough for
// a driver to return before the caller leaves.
func (k *kind) bound(caller context.Context) (context.Context, context.CancelFunc) {
	whole := k.whole
	if deadline, ok := caller.Deadline(); ok {
		whole = min(whole, time.Until(deadline))
	}
	return context.WithTimeout(caller, whole-settleWithin(whole))
}

// settleWithin returns the part of a call's time that is reserved for settling.
func settleWithin(whole time.Duration) time.Duration { return min(settle, whole/10) }

// ended returns the error of a call whose time is up, nil before that.
func ended(caller, call context.Context) error {
	switch {
	case caller.Err() != nil:
		return caller.Err()
	case errors.Is(call.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", store.ErrTimeout, call.Err())
	}
	return nil
}

func endedError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// outcome is the result of a driver.
type outcome[T any] struct {
	value T
	err   error
}

// try runs f once, if the breaker permits, until its context ends plus the time
// to settle.
func try[T any](call context.Context, s *Store, k *kind, e failsafe.Execution[struct{}],
	f func(ctx context.Context, retries int) (T, error),
) (value T, err error) {
	if err := call.Err(); err != nil {
		return value, err
	}
	if s.closed.Load() {
		return value, store.ErrClosed
	}
	if n := k.leftBehind.Load(); n >= maxLeftBehind {
		return value, fmt.Errorf("%w: %d earlier calls have not returned although their time is up: find out what the driver waits for, then restart the worker", store.ErrOpen, n)
	}
	permit, err := k.breaker.acquire()
	if err != nil {
		return value, err
	}
	value, overdue, err := run(call, k, e, f)
	if overdue && endedError(err) && !transient(err) {
		// Not wrapped: it would look like the end of the caller's context.
		err = fmt.Errorf("%w: one try took longer than %s: %v", store.ErrTimeout, k.try, err)
	}
	if errors.Is(err, store.ErrThrottled) {
		s.pace.limited(err)
	}
	k.breaker.record(permit, verdictOf(call, overdue, err), err)
	return value, err
}

// run calls f in its own goroutine, and leaves it behind if necessary. overdue
// reports that f had not returned at the limit of a try, while the call still
// had time.
func run[T any](call context.Context, k *kind, e failsafe.Execution[struct{}],
	f func(ctx context.Context, retries int) (T, error),
) (value T, overdue bool, err error) {
	ctx, retries := e.Context(), e.Retries()
	var over atomic.Bool // f has returned or was left behind: the first of the two sets it
	returned := make(chan outcome[T], 1)
	go func() {
		var o outcome[T]
		defer func() {
			if r := recover(); r != nil {
				// Nobody above this goroutine could catch it. The recovered
				// value may hold a secret, so leave it out.
				o.err = fmt.Errorf("the driver panicked, which is a bug in the driver:\n%s", debug.Stack())
			}
			if over.CompareAndSwap(false, true) {
				returned <- o
			} else {
				k.leftBehind.Add(-1)
				wipe(o.value)
			}
		}()
		o.value, o.err = f(ctx, retries)
	}()
	select {
	case o := <-returned:
		return o.value, false, o.err
	case <-ctx.Done():
		overdue = call.Err() == nil
	}
	if k.changes {
		// Wait for a write that continues, while there is time. If the policy
		// repeated it now, the first one might take effect after the repetition
		// and a later write were acknowledged, and undo both.
		select {
		case o := <-returned:
			return o.value, overdue, o.err
		case <-call.Done():
		}
	}
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case o := <-returned:
		return o.value, overdue, o.err
	case <-timer.C:
	}
	k.leftBehind.Add(1)
	if !over.CompareAndSwap(false, true) {
		k.leftBehind.Add(-1)
		o := <-returned
		return o.value, overdue, o.err
	}
	return value, overdue, fmt.Errorf("%w, and the driver did not return", ctx.Err())
}

// wipe overwrites the values in a driver's result that nobody waits for any
// more.
func wipe(value any) {
	switch value := value.(type) {
	case *store.Record:
		if value != nil {
			value.Data.Wipe()
		}
	case []store.Found:
		for _, found := range value {
			wipe(found.Record)
		}
	}
}

// verdictOf returns what the error of a try shows about the store. If the
// caller left, it shows nothing; any other answer shows that the store is
// available.
func verdictOf(call context.Context, overdue bool, err error) verdict {
	switch {
	case err == nil, errors.Is(err, store.ErrThrottled), errors.Is(err, store.ErrFull):
		return present
	case overdue && transient(err):
		return failing
	case call.Err() != nil, errors.Is(err, store.ErrClosed):
		return unknown
	case transient(err):
		return failing
	case endedError(err):
		return unknown
	}
	return present
}
