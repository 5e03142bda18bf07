package coherence

import (
	"time"

	"credbus/subjects"
)

// keyState is what a replica knows of a key that was written lately.
type keyState struct {
	holds map[string]*hold // by write id

	// The rest is about the writes that are over. Of those that overlapped
	// nobody knows which the store took last.
	floor   subjects.Revision // the lowest of their intents
	stored  bool              // one of them stored something
	open    bool              // others that overlap them are still under way
	version string            // what the last of them left; "" after a delete
	until   time.Time         // when to forget them
}

// hold keeps a key out of the cache while a write to it is under way.
type hold struct {
	until time.Time
	at    subjects.Revision // of the intent, once the log brings it
}

// holdLocked keeps a key out of the cache for d, or until the write is over.
func (r *Replica) holdLocked(key subjects.Target, write string, d time.Duration) *hold {
	state := r.stateLocked(key)
	h := state.holds[write]
	if h == nil {
		h = new(hold)
		state.holds[write] = h
	}
	h.until = time.Now().Add(d)
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

// announceLocked holds a key for a write of this replica's own, before anybody
// else hears of it.
func (r *Replica) announceLocked(key subjects.Target, write string) {
	r.dropLocked(key)
	r.holdLocked(key, write, r.config.Hold)
}

// intendLocked is what an intent asks.
func (r *Replica) intendLocked(at subjects.Revision, entry *subjects.Event) {
	own := entry.Replica == r.config.Name
	if off(IntentDrop) && !own {
		return
	}
	r.dropLocked(entry.Target)
	if off(IntentHold) && !own {
		return
	}
	r.holdLocked(entry.Target, entry.WriteID, r.config.Hold).at = at
}

// endLocked is what the end of a write asks: the key is dropped once more, and
// released by this write alone.
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

// rememberLocked notes what a write left, so that an older answer of a store
// that lags is not cached.
func (r *Replica) rememberLocked(state *keyState, entry *subjects.Event) {
	now := time.Now()
	stored := entry.Kind == subjects.EventStored
	switch {
	case entry.WriteID == "": // behind the workers' back: nothing orders it
		state.floor, state.stored = subjects.Revision{}, false
	case state.open && now.Before(state.until):
		if entry.Revision.Compare(state.floor) < 0 {
			state.floor = entry.Revision
		}
		state.stored = state.stored || stored
	default:
		state.floor, state.stored = entry.Revision, stored
	}
	state.version = entry.Version
	state.until = now.Add(r.config.Hold)
	state.open = len(state.holds) > 0
}

// outdatedLocked reports whether an answer of the store is from before a write
// that is over.
func (r *Replica) outdatedLocked(key subjects.Target, answer Answer) bool {
	state := r.keys[key]
	if state == nil || !time.Now().Before(state.until) || off(DoneMemory) {
		return false
	}
	if answer.Absent {
		return state.stored
	}
	return answer.Revision.Compare(state.floor) < 0
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
	if !held && !now.Before(state.until) {
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
