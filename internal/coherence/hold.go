package coherence

import (
	"time"

	"credbus/subjects"
)

// keyState is what a replica knows of a key that was written lately.
type keyState struct {
	holds map[string]*hold // by write id

	// The rest describes the write that ended last.
	version  string            // of what it stored; "" after a delete
	intent   subjects.Revision // where it was announced
	overlaps bool              // others were under way; only the store knows which came last
	open     bool              // others were still under way when it ended
	stored   bool              // it stored something
	ended    time.Time         // it is forgotten once memoryLocked has passed
}

// hold keeps a key out of the cache while a write to it is under way.
type hold struct {
	until time.Time
	at    subjects.Revision // of the intent, once the log brings it
}

// holdOf is for how long the write of an entry may take effect, as its writer says: the
// replicas may have other settings. For earlier versions, which do not say it, it is Hold.
func (r *Replica) holdOf(entry *subjects.Event) time.Duration {
	if entry.Hold <= 0 || off(WritersHold) {
		return r.config.Hold
	}
	return min(entry.Hold, MaxHold)
}

// holdLocked keeps a key out of the cache for d, or until the write is over.
func (r *Replica) holdLocked(key subjects.Target, write string, d time.Duration) *hold {
	state := r.stateLocked(key)
	h := state.holds[write]
	if h == nil {
		h = new(hold)
		state.holds[write] = h
	}
	// The store may show a write of the last moment only once it has caught up.
	h.until = time.Now().Add(d + r.behind(key.Scope))
	return h
}

func (r *Replica) stateLocked(key subjects.Target) *keyState {
	state := r.keys[key]
	if state == nil {
		r.sweepLocked()
		state = &keyState{holds: make(map[string]*hold)}
		r.keys[key] = state
	}
	return state
}

// announceLocked holds a key for a write of this replica's own, before any other
// replica hears of it.
func (r *Replica) announceLocked(key subjects.Target, write string) {
	r.dropLocked(key)
	r.holdLocked(key, write, r.config.Hold)
}

// intendLocked carries out an intent.
func (r *Replica) intendLocked(at subjects.Revision, entry *subjects.Event) {
	own := entry.Replica == r.config.Name
	if off(IntentDrop) && !own {
		return
	}
	r.dropLocked(entry.Target)
	if off(IntentHold) && !own {
		return
	}
	r.holdLocked(entry.Target, entry.WriteID, r.holdOf(entry)).at = at
}

// endLocked carries out the end of a write: it drops the key once more, and ends the
// hold of this write alone.
func (r *Replica) endLocked(entry *subjects.Event) {
	key := entry.Target
	state := r.stateLocked(key)
	r.dropLocked(key)
	delete(state.holds, entry.WriteID)
	if off(OwnRelease) {
		clear(state.holds)
	}
	if entry.Kind != Unchanged {
		r.rememberLocked(state, entry)
	}
}

func (r *Replica) heldLocked(key subjects.Target) bool {
	now := time.Now()
	if now.Before(r.holdAll) {
		return true
	}
	state := r.keys[key]
	if state == nil {
		return false
	}
	for id, h := range state.holds {
		if !now.Before(h.until) {
			delete(state.holds, id)
		}
	}
	held := len(state.holds) > 0
	if !held && !r.recentLocked(state) {
		delete(r.keys, key)
	}
	return held
}

// sweepLocked forgets keys that nobody read since they were written. It looks
// at a few each time, so that their number stays near that of recent writes.
func (r *Replica) sweepLocked() {
	const look = 4
	seen := 0
	for key := range r.keys {
		r.heldLocked(key)
		if seen++; seen == look {
			return
		}
	}
}
