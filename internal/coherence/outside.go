package coherence

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"credbus/subjects"
)

// outside turns changes that were made in the store itself, past the workers, into
// events. The store reports every change to every replica, the workers' own writes
// too. The log shows which changes those are, once it has caught up.
type outside struct {
	mu      sync.Mutex
	ctx     context.Context // that of Run; nil while Run does not run
	pending map[subjects.Target]*noticed
	running sync.WaitGroup
}

// noticed is the last report of the store about a key.
type noticed struct {
	version string
	timer   *time.Timer
}

// A replica looks at a change again after settle to twice that, so that one replica
// reports it first and the others find it reported.
const settle = 250 * time.Millisecond

func (o *outside) start(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ctx, o.pending = ctx, make(map[subjects.Target]*noticed)
}

// stop gives up what is pending, once the context of start has ended.
func (o *outside) stop() {
	o.mu.Lock()
	for _, n := range o.pending {
		if n.timer.Stop() {
			o.running.Done()
		}
	}
	o.ctx, o.pending = nil, nil
	o.mu.Unlock()
	o.running.Wait()
}

// Unreadable stands for the version of a record that exists but cannot be read.
const Unreadable = "unreadable"

// Changed says that the store has another version of a key than before, or none ("").
// The key is dropped from this replica's cache at once, unless a write through the
// workers explains the change, or one is under way that may explain it. If a change is
// unexplained a moment later, with no write under way, it becomes an event.
func (r *Replica) Changed(key subjects.Target, version string) {
	r.mu.Lock()
	explained, held := r.explainsLocked(key, version)
	if !explained && !held {
		r.dropLocked(key)
	}
	r.mu.Unlock()
	o := &r.outside
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := o.pending[key]; n != nil {
		n.version = version // the earlier version no longer matters
		return
	}
	if explained || o.ctx == nil {
		return
	}
	o.running.Add(1)
	o.pending[key] = &noticed{version: version, timer: time.AfterFunc(soon(), func() {
		defer o.running.Done()
		r.report(key)
	})}
}

func soon() time.Duration { return settle + rand.N(settle) }

// ChangedAll says that anything may have changed in the store of that name, as
// Config.Store returns it; the name does not matter if one store keeps all. The records
// of other stores stay cached, and reads of them that are under way may fill the cache.
func (r *Replica) ChangedAll(store string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushes.Add(1)
	if r.config.Store == nil {
		r.epochs.flush(subjects.Root)
		r.cache.Clear()
		return
	}
	r.epochs.flushStore(store)
	r.cache.DropScopes(func(scope string) bool { return r.config.Store(subjects.Scope(scope)) == store })
}

// explainsLocked reports whether a write through the workers left a key at version,
// or else whether one is under way. The end of that write drops the key, whatever the
// store holds by then, but the write may have changed nothing.
func (r *Replica) explainsLocked(key subjects.Target, version string) (explained, held bool) {
	state := r.keys[key]
	if state == nil {
		return false, false
	}
	held = r.heldLocked(key) && len(state.holds) > 0
	return !held && r.recentLocked(state) && state.version == version, held
}

// report appends the event of an unexplained change. Before it goes a flush of the key,
// whose revision the event can carry.
func (r *Replica) report(key subjects.Target) {
	n, ctx := r.outside.settled(key, func(version string) (explained, held bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.explainsLocked(key, version)
	})
	if n == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.Hold)
	defer cancel()
	event := r.entry(subjects.EventStored, key, "")
	switch n.version {
	case "":
		event.Kind = subjects.EventDeleted
	case Unreadable:
	default:
		event.Version = n.version
	}
	var err error
	if event.Revision, err = r.Flush(ctx, key); err == nil {
		_, err = r.log.Append(ctx, event)
	}
	if err != nil && ctx.Err() == nil {
		r.config.Logger.Error("a change made in the store itself could not be announced to the other replicas", "scope", key.Scope, "id", key.ID, "error", err)
	}
}

// settled takes the pending change of a key, if there is one to report. While a write
// is under way, the change stays pending.
func (o *outside) settled(key subjects.Target, explains func(version string) (explained, held bool)) (*noticed, context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.pending[key]
	if n == nil {
		return nil, nil
	}
	explained, held := explains(n.version)
	if held {
		o.running.Add(1)
		n.timer.Reset(soon())
		return nil, nil
	}
	delete(o.pending, key)
	if explained {
		return nil, nil
	}
	return n, o.ctx
}
