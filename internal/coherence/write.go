package coherence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"credbus/subjects"
)

// Commit is the result of a change of the store.
type Commit struct {
	// Kind is subjects.EventStored or EventDeleted. With an error it is Unchanged or
	// Unknown: what the error means for the key.
	Kind    subjects.EventKind
	Version string // of what was stored
	// Index is the store's consistency index after the write, "" if it has none. Clients
	// get it with the event, so it must be sealed. An index that is longer than
	// subjects.MaxIndexLen is left out.
	Index string
}

// Write runs commit, which changes key in the store, between an intent and a
// done. The id write names this write, and must never name another. Write returns a
// revision that includes the change, and whether commit ran: if it did not, nothing
// was written.
//
// commit gets the revision of the intent, which the store must keep with the
// record, and must return before its context ends. Write puts nothing into the
// cache: only the store knows the result, the next reader asks for it, and few read
// soon what is written in bulk.
func (r *Replica) Write(ctx context.Context, key subjects.Target, write string,
	commit func(ctx context.Context, intent subjects.Revision) (Commit, error),
) (revision subjects.Revision, ran bool, err error) {
	// The replicas count the hold from when they see the intent, which is later.
	limited := ctx
	if !off(WriteDeadline) {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, r.config.Hold)
		defer cancel()
	}
	intent, err := r.intend(limited, key, write)
	if err != nil {
		return intent, false, fmt.Errorf("announce the write: %w", err)
	}
	// The process may have been paused for longer than the others hold the key. Its
	// contexts learn of that from timers, a moment later.
	if until, ok := limited.Deadline(); ok && !time.Now().Before(until) {
		r.abandon(ctx, key, write)
		return intent, false, context.DeadlineExceeded
	}
	done, commitErr := commit(limited, intent)
	failpoint("after_store")
	entry := r.entry(done.Kind, key, write)
	entry.Version, entry.Revision = done.Version, intent
	if carriesIndex(done.Kind) && len(done.Index) <= subjects.MaxIndexLen {
		entry.Index = done.Index
	}

	// The store may have changed, whatever happened to the caller.
	revision, err = r.finish(context.WithoutCancel(ctx), entry)
	if revision.Compare(intent) < 0 {
		revision = intent
	}
	if err != nil && commitErr == nil {
		// Every replica has dropped the key and holds it. Only the public event
		// and an early release are missing.
		err = fmt.Errorf("%w: %w", ErrUnannounced, err)
	}
	if commitErr != nil {
		err = commitErr
	}
	return revision, true, err
}

// carriesIndex reports whether entries of a kind may have an Index.
func carriesIndex(kind subjects.EventKind) bool {
	return kind == subjects.EventStored || kind == subjects.EventDeleted
}

// ErrUnannounced is returned by Write when the store was changed and no replica
// serves the old state, but the change event could not be published.
var ErrUnannounced = errors.New("written, but its change event was not published")

// ErrNoRoom is wrapped by the error of a Log that did not take an entry because it
// had no room.
var ErrNoRoom = errors.New("the event stream has no room")

// intend announces a write. After an error nothing may be written.
func (r *Replica) intend(ctx context.Context, key subjects.Target, write string) (subjects.Revision, error) {
	intent := r.entry(Intent, key, write)
	intent.Acknowledge = r.config.Mode == Strict
	if intent.Acknowledge {
		defer r.members.expect(write)()
	}
	r.mu.Lock()
	r.announceLocked(key, write)
	r.mu.Unlock()

	appending, cancel := context.WithTimeout(ctx, r.config.Lease)
	defer cancel()
	at, err := r.log.Append(appending, intent)
	if err != nil {
		r.release(key, write)
		return at, err
	}
	at, err = r.awaitIntent(appending, key, write)
	if err == nil && intent.Acknowledge {
		err = r.awaitMembers(ctx, write)
	}
	if err != nil {
		r.abandon(ctx, key, write)
	}
	return at, err
}

// abandon ends an announced write that will not happen, so that the others do not
// hold the key for nothing.
func (r *Replica) abandon(ctx context.Context, key subjects.Target, write string) {
	r.release(key, write)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.Lease)
	defer cancel()
	_, _ = r.log.Append(ctx, r.entry(Unchanged, key, write))
}

// release removes this replica's own hold of a write.
func (r *Replica) release(key subjects.Target, write string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if state := r.keys[key]; state != nil {
		delete(state.holds, write)
	}
}

// awaitIntent returns the place of an intent once the log has delivered it. The
// place that the append returned is not enough: if the stream was created anew just
// now, it is in another stream than this replica follows. After awaitIntent, the
// replica knows every ping before the intent.
func (r *Replica) awaitIntent(ctx context.Context, key subjects.Target, write string) (at subjects.Revision, err error) {
	err = r.await(ctx, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if state := r.keys[key]; state != nil && state.holds[write] != nil {
			at = state.holds[write].at
		}
		return !at.IsZero()
	})
	return at, err
}

// finish appends the end of a write, again and again for as long as the others
// may hold the key. A second copy in the log does no harm.
func (r *Replica) finish(ctx context.Context, entry *subjects.Event) (subjects.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.Hold)
	defer cancel()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		attempt, cancel := context.WithTimeout(ctx, r.config.Lease)
		at, err := r.log.Append(attempt, entry)
		cancel()
		if err == nil {
			return at, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return at, err
		}
	}
}
