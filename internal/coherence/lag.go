package coherence

import (
	"time"

	"credbus/subjects"
)

// A store that lags may answer for a while with the state before a finished write.
// For that long a replica remembers the last write of each key, as the log delivered
// it, and so can tell an old answer from a new one. If an answer is older than a
// finished write, the replica neither uses nor caches it, but asks the store again.

// Lags reports whether the store of a scope may answer with the state before a write.
func (r *Replica) Lags(scope subjects.Scope) bool { return r.config.Lag > 0 && r.config.Lags(scope) }

// behind is for how much longer a write must be remembered because the store of a
// scope lags: for the lag, and for the longest read whose answer is still judged.
func (r *Replica) behind(scope subjects.Scope) time.Duration {
	if !r.Lags(scope) {
		return 0
	}
	return r.config.Lag + r.config.Read
}

// memoryLocked is for how long a finished write is remembered.
func (r *Replica) memoryLocked() time.Duration {
	if r.config.Lag > 0 {
		return r.longest + r.config.Lag + r.config.Read
	}
	return r.longest
}

// rememberLocked notes the result of a write.
func (r *Replica) rememberLocked(state *keyState, entry *subjects.Event) {
	before, recent, open := *state, r.recentLocked(state), len(state.holds) > 0
	if recent && before.stored == (entry.Kind == subjects.EventStored) && before.version == entry.Version && before.intent == entry.Revision {
		return // the same write again
	}
	state.overlaps = open || before.open && recent
	state.open = open
	state.version, state.stored = entry.Version, entry.Kind == subjects.EventStored
	state.intent, state.ended = entry.Revision, time.Now()
	if recent && state.intent.Compare(before.intent) < 0 {
		state.overlaps = true // announced before a write that ended sooner
	}
	if entry.WriteID == "" { // made in the store itself: the record has no intent
		state.intent = subjects.Revision{}
	}
	if !before.open || !recent || !before.stored || !state.stored {
		return
	}
	// Of writes that overlapped, the store's own versions show which came last.
	newer, known := r.config.Newer(entry.Scope, state.version, before.version)
	if !known {
		return
	}
	state.overlaps = open || before.overlaps
	if !newer {
		state.version, state.intent = before.version, before.intent
	}
}

// recentLocked reports whether the last write of a key is recent enough to count.
func (r *Replica) recentLocked(state *keyState) bool {
	return time.Since(state.ended) < r.memoryLocked()
}

// outdatedLocked reports whether an answer may show the state before a finished
// write, as a store that lags may do for a while.
func (r *Replica) outdatedLocked(key subjects.Target, answer Answer) bool {
	if !r.Lags(key.Scope) {
		return false
	}
	if off(AnswerAge) {
		answer.Asked = time.Now()
	}
	if answer.Asked.Before(r.unsure) && !off(GapMemory) || time.Since(answer.Asked) > r.config.Read {
		return true // the memory does not reach back so far
	}
	state := r.keys[key]
	if state == nil || answer.Asked.Sub(state.ended) >= r.config.Lag {
		return false
	}
	if answer.Absent {
		return state.stored || state.overlaps
	}
	if state.stored && state.version != "" {
		newer, known := r.config.Newer(key.Scope, answer.Version, state.version)
		switch {
		case known && !newer && answer.Version != state.version:
			return true
		case known && !state.overlaps:
			return false
		}
	}
	return answer.Revision.Compare(state.intent) < 0 || state.overlaps
}

// Outdated reports whether an answer of a store that lags may show the state before a
// finished write, as far as this replica has applied the log.
func (r *Replica) Outdated(key subjects.Target, answer Answer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outdatedLocked(key, answer) && !off(NewestAnswer)
}

// Settled reports whether an answer of a store that lags can be relied on: no write
// to the key is under way, and the answer is not outdated. While a write is under way,
// one read may show it and the next one not.
func (r *Replica) Settled(key subjects.Target, answer Answer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.outdatedLocked(key, answer) && (!r.heldLocked(key) || off(HoldsSettle)) || off(NewestAnswer)
}

// unsureLocked notes that for d, finished writes may exist that this replica has not
// heard of.
func (r *Replica) unsureLocked(d time.Duration) {
	if until := time.Now().Add(d); d > 0 && until.After(r.unsure) {
		r.unsure = until
	}
}
