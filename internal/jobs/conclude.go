package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"credbus/subjects"
)

// conclude enters the result of the attempt.
func (a *attempt) conclude(ctx context.Context) (verdict, error) {
	a.mu.Lock()
	stopped := a.stop.Err() != nil
	a.changed = a.changed || stopped
	a.mu.Unlock()
	if stopped {
		// The ledger says why.
		if err := a.checkpoint(ctx); err != nil {
			return left, err
		}
	}
	st := &a.entry.status
	st.Count()
	switch pending := a.stillPending(); {
	case a.lost:
		return left, nil
	case st.Cancelling:
		return a.finish(ctx, subjects.JobCancelled)
	case pending == nil:
		return a.finish(ctx, subjects.JobDone)
	case a.s.taking.Err() != nil:
		return a.handOver(ctx)
	case st.Attempts >= a.s.config.Attempts:
		return a.giveUp(ctx, pending)
	default:
		wait := a.s.backoff(st.Attempts)
		st.RetryAt = a.s.clock.now().Add(wait)
		st.Reason = pending.Error()
		return a.later(ctx, wait)
	}
}

// stillPending returns the reason why the first pending item has no outcome.
func (a *attempt) stillPending() *subjects.Error {
	for i := range a.entry.status.Results {
		if result := &a.entry.status.Results[i]; result.Pending {
			return cmp.Or(result.Err, errNotTried)
		}
	}
	return nil
}

// errNotTried is the error of an item that was not begun. Nothing was written
// for it.
var errNotTried = subjects.Errorf(subjects.StorageUnavailable, "the worker stopped before it began this item")

// put enters the state of the attempt, unless another worker has the job or a
// caller has cancelled it.
func (a *attempt) put(ctx context.Context) error {
	for {
		err := a.s.ledger.put(ctx, a.entry)
		if !errors.Is(err, errOvertaken) {
			return err
		}
		if err := a.reconcile(ctx); err != nil {
			return err
		}
		a.mu.Lock()
		stopped := a.lost || a.entry.status.Cancelling
		a.mu.Unlock()
		if stopped {
			return nil
		}
	}
}

// later leaves the pending items to another attempt, unless the ledger says
// that there must be none.
func (a *attempt) later(ctx context.Context, wait time.Duration) (verdict, error) {
	switch err := a.put(ctx); {
	case err != nil:
		return left, err
	case a.lost:
		return left, nil
	case a.entry.status.Cancelling:
		return a.finish(ctx, subjects.JobCancelled)
	}
	return again(wait), nil
}

// insist enters the last state of the job, even if a caller cancels it at the
// last moment: that is too late.
func (a *attempt) insist(ctx context.Context, enter func() (verdict, error)) (verdict, error) {
	for {
		v, err := enter()
		if !errors.Is(err, errOvertaken) {
			return v, err
		}
		err = a.reconcile(ctx)
		a.mu.Lock()
		lost := a.lost
		a.mu.Unlock()
		if err != nil || lost {
			return left, err
		}
	}
}

func (a *attempt) finish(ctx context.Context, state subjects.JobState) (verdict, error) {
	return a.insist(ctx, func() (verdict, error) { return a.s.end(ctx, a.entry, state, "") })
}

// giveUp makes a dead letter of a job that has used all its attempts.
func (a *attempt) giveUp(ctx context.Context, why *subjects.Error) (verdict, error) {
	reason := fmt.Sprintf("given up after %d attempts: %s", a.number, why.Error())
	return a.insist(ctx, func() (verdict, error) { return a.s.bury(ctx, a.entry, a.p, reason, true) })
}

// handOver leaves the rest to another worker, since this one must stop. This
// does not count as a failed attempt.
func (a *attempt) handOver(ctx context.Context) (verdict, error) {
	st := &a.entry.status
	for i := range st.Results {
		if result := &st.Results[i]; result.Pending && result.Err == nil && !a.unsure[i] {
			result.Err = errNotTried
		}
	}
	st.Attempts--
	return a.later(ctx, 0)
}
