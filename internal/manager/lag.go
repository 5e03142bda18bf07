package manager

import (
	"context"
	"errors"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/store"
	"credbus/subjects"
)

// A store that lags may return the old state for a while after a write. The
// code below repeats a read until its answer is no older than any write that
// was acknowledged before the read began:
//
//	end of the log ─► await it ─► store ─► newest? ── yes ─► answer
//	                                ▲         no
//	                                └─ pause ─┘

// errNotYet is the error of a read if the store still answers from before a
// finished write.
var errNotYet = subjects.Errorf(subjects.StorageUnavailable,
	"the store does not show the newest version yet (store.lag): send the request again")

// errBehind is the error of a read of a store that lags, if the worker cannot
// know the latest writes.
var errBehind = subjects.Errorf(subjects.StorageUnavailable,
	"the worker is cut off from the others, so it does not know whether the store's answer is the newest: send the request again")

// answer returns the parts of a store's answer that a replica needs.
func (l loaded) answer() coherence.Answer {
	if l.record == nil {
		return coherence.Answer{Asked: l.asked, Revision: l.end, Absent: true}
	}
	return coherence.Answer{Asked: l.asked, Revision: l.record.Revision, Version: l.record.Version}
}

// get reads a key from the store by fetch. The answer is no older than the revision least.
// With linearizable it is no older than any write that was acknowledged before the call.
// Without, it may be as old as a lease.
func (r *records) get(ctx context.Context, fetch fetch, key subjects.Target, least subjects.Revision, linearizable bool) (found loaded, err error) {
	if !r.config.Replica.Lags(key.Scope) {
		return r.ask(ctx, fetch, key)
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.ReadTimeout)
	defer cancel()
	if err := r.learn(ctx, least, linearizable); err != nil {
		return loaded{}, err
	}
	err = r.again(ctx, func() (done bool, err error) {
		found, err = r.ask(ctx, fetch, key)
		if err != nil || r.config.Replica.Settled(key, found.answer()) {
			return true, err
		}
		found.wipe()
		return false, nil
	})
	if err != nil {
		return loaded{}, err
	}
	return found, nil
}

// again repeats try until it is done or fails, or returns errNotYet when ctx
// ends.
func (r *records) again(ctx context.Context, try func() (done bool, err error)) error {
	const first, most = 5 * time.Millisecond, 200 * time.Millisecond
	for pause := first; ; pause = min(2*pause, most) {
		done, err := try()
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errNotYet
		}
	}
}

// learn waits until the replica has applied least and, with all, the current
// end of the log. With all, it then knows every write acknowledged so far.
// Otherwise its lease ensures that it knows those older than a Lease.
func (r *records) learn(ctx context.Context, least subjects.Revision, all bool) error {
	if all {
		end, err := r.end(ctx)
		if err != nil {
			return err
		}
		least = later(end, least)
	}
	if r.config.Replica.Await(ctx, least) != nil {
		return errBehind
	}
	// If the log did not answer, its end is unknown. With a lease, that is
	// enough.
	if !r.config.Replica.Look().Live() && r.config.Replica.AwaitTrust(ctx) != nil {
		return errBehind
	}
	return nil
}

// put runs a write of the store with a precondition. A store that lags may
// check that against the state before a finished write. So put repeats a
// refused write until the newest version refuses it too.
func (w *Writer) put(ctx context.Context, key subjects.Target, pre store.Precondition, put func() error) error {
	if !w.config.Replica.Lags(key.Scope) {
		return put()
	}
	return w.again(ctx, func() (done bool, err error) {
		if err = put(); !ofState(err) {
			return true, err
		}
		// All finished writes were in the log before the intent of this one.
		found, reading := w.ask(ctx, w.config.Store.Get, key)
		defer found.wipe()
		switch {
		case reading != nil:
			return false, errNotYet // nothing was written, whatever error the read had
		case w.config.Replica.Outdated(key, found.answer()):
			return false, nil
		}
		return false, pre.Check(found.record)
	})
}

// ofState reports whether an error shows what the store holds.
func ofState(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict)
}
