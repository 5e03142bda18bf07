package coherence

import (
	"time"

	"credbus/subjects"
)

// A store that lags may answer for a while what was before a write that is over.
// A replica remembers for as long which write of each key was the last, as the log
// told it, and so can tell an old answer from a new one. It asks the store again
// then: what is older than a write that is known to be done is no answer, and is
// never cached.

// Lags reports whether the store of a scope may answer what was before a write.
func (r *Replica) Lags(scope subjects.Scope) bool { return r.config.Lag > 0 && r.config.Lags(scope) }

// behind is for how much longer a write must be remembered because the store of a
// scope lags: for the lag, and for as long as a read may take whose answer is judged.
func (r *Replica) behind(scope subjects.Scope) time.Duration {
	if !r.Lags(scope) {
		return 0
	}
	return r.config.Lag + r.config.Read
}

// memoryLocked is for how long a write that is over is remembered.
func (r *Replica) memoryLocked() time.Duration {
	if r.config.Lag > 0 {
		return r.longest + r.config.Lag + r.config.Read
	}
	return r.longest
}

// rememberLocked notes what a write left.
func (r *Replica) rememberLocked(state *keyState, entry *subjects.Event) {
	before, recent, open := *state, r.recentLocked(state), len(state.holds) > 0
	if recent && before.stored == (entry.Kind == subjects.EventStored) && before.version == entry.Version && before.intent == entry.Revision {
		return // again
	}
	state.overlaps = open || before.open && recent
	state.open = open
	state.version, state.stored = entry.Version, entry.Kind == subjects.EventStored
	state.intent, state.ended = entry.Revision, time.Now()
	if recent && state.intent.Compare(before.intent) < 0 {
		state.overlaps = true // it was announced before a write that was over sooner
	}
	if entry.WriteID == "" { // behind the workers' back: the record tells of no intent
		state.intent = subjects.Revision{}
	}
	if !before.open || !recent || !before.stored || !state.stored {
		return
	}
	// Of writes that overlapped, the store's own versions tell which came last.
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

// outdatedLocked reports whether an answer may be from before a write that is
// over: a store that lags may say so for a while.
func (r *Replica) outdatedLocked(key subjects.Target, answer Answer) bool {
	if !r.Lags(key.Scope) {
		return false
	}
	if off(AnswerAge) {
		answer.Asked = time.Now()
	}
	if answer.Asked.Before(r.unsure) && !off(GapMemory) || time.Since(answer.Asked) > r.config.Read {
		return true // what is remembered does not reach back so far
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

// Outdated reports whether an answer of a store that lags may be from before a write
// that is over, as far as this replica has applied the log.
func (r *Replica) Outdated(key subjects.Target, answer Answer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outdatedLocked(key, answer) && !off(NewestAnswer)
}

// Settled reports whether an answer of a store that lags can be relied on: no write
// to the key is under way, and it is not outdated. While a write is under way one
// read may show it, and the next one not.
func (r *Replica) Settled(key subjects.Target, answer Answer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.outdatedLocked(key, answer) && (!r.heldLocked(key) || off(HoldsSettle)) || off(NewestAnswer)
}

// unsureLocked says that writes may be over which this replica has not heard of.
func (r *Replica) unsureLocked(d time.Duration) {
	if until := time.Now().Add(d); d > 0 && until.After(r.unsure) {
		r.unsure = until
	}
}
