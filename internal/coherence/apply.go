package coherence

import (
	"time"

	"credbus/subjects"
)

// follower is the side of a Replica that its log talks to.
type follower Replica

func (f *follower) Begin(gap bool) { (*Replica)(f).begin(gap) }

func (f *follower) Apply(at subjects.Revision, entry *subjects.Event) {
	r := (*Replica)(f)
	r.apply(entry)
	r.show(at, r.Trust())
}

func (f *follower) Current(at subjects.Revision) { (*Replica)(f).show(at, Trusted) }

func (f *follower) Lost(reason string) {
	r := (*Replica)(f)
	r.show(r.Applied(), reason)
}

// begin starts anew: whatever the cache holds may have changed while nobody
// looked. After a gap an intent may be among what was missed, so every key is
// held for as long as one can last.
func (r *Replica) begin(gap bool) {
	r.show(r.Applied(), "catching up with the event stream")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	r.cache.Clear()
	if gap {
		r.holdAll = time.Now().Add(r.hold)
	}
}

func (r *Replica) show(at subjects.Revision, trust string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view.Store(&view{applied: at, text: at.String(), field: subjects.AppendRevision(nil, at), trust: trust})
	close(r.applied)
	r.applied = make(chan struct{})
}

// apply does what an entry asks. The local writer applies its own entries
// twice, here and through the log, which changes nothing.
func (r *Replica) apply(entry *subjects.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if entry.Kind == Flush && entry.ID == "" {
		r.epoch++
		r.cache.DropSubtree(string(entry.Scope))
		return
	}
	*r.generation(entry.Target)++
	r.cache.Drop(string(entry.Scope), string(entry.ID))
	switch entry.Kind {
	case Intent:
		r.holdLocked(entry, r.hold)
	case Unknown:
		// It may still land: the store's own time limit has passed, and as
		// much again is granted to what lies on its way.
		r.holdLocked(entry, 2*r.hold)
	case Flush:
	default: // the write is over
		delete(r.holds[entry.Target], entry.WriteID)
		if len(r.holds[entry.Target]) == 0 {
			delete(r.holds, entry.Target)
		}
	}
}

func (r *Replica) holdLocked(entry *subjects.Event, d time.Duration) {
	writes := r.holds[entry.Target]
	if writes == nil {
		r.sweepLocked()
		writes = make(map[string]time.Time)
		r.holds[entry.Target] = writes
	}
	writes[entry.WriteID] = time.Now().Add(d)
}

// sweepLocked forgets holds that ran out on keys nobody read since. It looks
// at a few each time, so that their number stays near that of writes under way.
func (r *Replica) sweepLocked() {
	const look = 4
	seen := 0
	for key := range r.holds {
		r.heldLocked(key)
		if seen++; seen == look {
			return
		}
	}
}
