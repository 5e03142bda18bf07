package coherence

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"credbus/subjects"
)

// outside turns changes that were made behind the workers' back into events.
// The store tells every replica of every change, its own writes and those of
// the others among them; which those are shows once the log has caught up.
type outside struct {
	mu      sync.Mutex
	ctx     context.Context // that of Run; nil while it does not
	pending map[subjects.Target]*noticed
	running sync.WaitGroup
}

// noticed is the last that the store said of a key.
type noticed struct {
	version string
	timer   *time.Timer
}

// Changes are looked at again after settle, and up to as much longer, so that
// one replica is the first to tell of one and the others find it told.
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

// Changed says that the store has another version of a key than before, or
// none ("", which is also that of a record that cannot be read). The key is
// dropped from this replica's cache at once, unless a write through the workers
// explains the change. What none explains a moment later becomes an event.
func (r *Replica) Changed(key subjects.Target, version string) {
	r.mu.Lock()
	explained := r.explainsLocked(key, version)
	if !explained {
		r.dropLocked(key)
	}
	r.mu.Unlock()
	if explained {
		return
	}
	o := &r.outside
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := o.pending[key]; n != nil {
		n.version = version
		return
	}
	if o.ctx == nil {
		return
	}
	o.running.Add(1)
	delay := settle + rand.N(settle)
	o.pending[key] = &noticed{version: version, timer: time.AfterFunc(delay, func() {
		defer o.running.Done()
		r.tell(key)
	})}
}

// ChangedAll says that anything in the store may have changed.
func (r *Replica) ChangedAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	r.flushes.Add(1)
	r.cache.Clear()
}

// explainsLocked reports whether a write through the workers left a key at
// version, or is still under way.
func (r *Replica) explainsLocked(key subjects.Target, version string) bool {
	state := r.keys[key]
	if state == nil {
		return false
	}
	if r.heldLocked(key) && len(state.holds) > 0 {
		return true // its end drops the key, whatever the store holds by then
	}
	return time.Now().Before(state.until) && state.version == version
}

// tell appends the event of a change that nothing explains. Before it goes a
// flush of the key, whose revision the event can carry.
func (r *Replica) tell(key subjects.Target) {
	o := &r.outside
	o.mu.Lock()
	n, ctx := o.pending[key], o.ctx
	delete(o.pending, key)
	o.mu.Unlock()
	if n == nil {
		return
	}
	r.mu.Lock()
	explained := r.explainsLocked(key, n.version)
	r.mu.Unlock()
	if explained {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.Hold)
	defer cancel()
	event := r.entry(subjects.EventStored, key, "")
	event.Version = n.version
	if n.version == "" {
		event.Kind = subjects.EventDeleted
	}
	var err error
	if event.Revision, err = r.Flush(ctx, key); err == nil {
		_, err = r.log.Append(ctx, event)
	}
	if err != nil && ctx.Err() == nil {
		r.config.Logger.Error("a change made in the store itself could not be told to the other replicas", "scope", key.Scope, "id", key.ID, "error", err)
	}
}
