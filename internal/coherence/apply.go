package coherence

import (
	"time"

	"credbus/subjects"
)

// follower is the side of a Replica that its log talks to.
type follower Replica

// Open implements Follower. If the log is not the one that was followed, or
// has lost entries, the cache cannot be trusted. Otherwise the cache stays: the
// replica applies all that it missed before it has a lease again.
func (f *follower) Open(end subjects.Revision, age time.Duration) {
	r := (*Replica)(f)
	r.mu.Lock()
	defer r.mu.Unlock()
	known := end.Stream == r.position.Stream || r.position.IsZero() || off(IdentityCheck)
	if regressed := r.joined && end.Seq < r.position.Seq && !off(RegressCheck); !known || regressed {
		r.config.Logger.Warn("the event stream is another one, or has lost entries; cache cleared", "was", r.position, "is", end)
		r.gapLocked()
		r.joined = false
	}
	r.position.Stream = end.Stream
	if !r.joined {
		r.knownSince = time.Now().Add(-min(age, r.memoryLocked()))
		if !off(YoungHold) {
			// Writes that were announced in a former log may still be under way.
			r.holdUnknownLocked()
		}
		// Replicas may have pinged before the first entry that comes now.
		r.members.unknownSince(time.Now())
		r.position.Seq = 0
		if age < r.memoryLocked() {
			r.unsureLocked(r.memoryLocked() - age)
		}
	}
	v := *r.view.Load()
	v.lost = ""
	if off(StartEcho) && v.lease == (deadline{}) {
		v.lease = deadlineAt(time.Now().Add(r.config.Lease))
	}
	r.showLocked(&v)
	r.lease.kick()
}

// Deliver implements Follower.
func (f *follower) Deliver(at subjects.Revision, entry *subjects.Event) {
	r := (*Replica)(f)
	r.deliver(at, entry)
	if entry.Kind == Intent && entry.Acknowledge && entry.Replica != r.config.Name {
		r.log.Acknowledge(r.config.Name, entry.Replica, entry.WriteID)
	}
}

// Acknowledged implements Follower.
func (f *follower) Acknowledged(replica, write string) {
	r := (*Replica)(f)
	r.members.acknowledged(replica, write)
}

func (r *Replica) deliver(at subjects.Revision, entry *subjects.Event) {
	// The index comes before the release of the key, so that the next read carries it. The
	// lock is not held, because Observe has to open it. Observing it twice does no harm.
	if r.config.Observe != nil && carriesIndex(entry.Kind) && entry.Replica != r.config.Name {
		r.config.Observe(entry)
	}
	r.protocols.heard(r, entry)
	text, field := at.String(), subjects.AppendRevision(nil, at) // not under the lock
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.joined && at.Seq <= r.position.Seq {
		return // delivered before
	}
	if r.joined && at.Seq != r.position.Seq+1 && !off(GapCheck) {
		r.config.Logger.Warn("event stream has a gap; cache cleared", "after", r.position, "next", at)
		r.gapLocked()
	}
	first := !r.joined
	r.position, r.joined = at, true
	if hold := r.holdOf(entry); hold > r.longest {
		r.longest = hold
		r.holdUnknownLocked()
	}
	r.applyLocked(at, entry)

	v := *r.view.Load()
	v.followed = at
	if first || !changesNothing(entry.Kind) {
		v.applied, v.text, v.field = at, text, field
	}
	switch {
	case entry.Kind == Ping && entry.Replica == r.config.Name:
		if until, ok := r.lease.echoed(entry.WriteID, r.config.Lease); ok {
			v.lease = until
		}
	case entry.Kind == Ping:
		heard := time.Now()
		if off(OwnClock) {
			heard = entry.At
		}
		r.members.pinged(entry.Replica, heard, r.leaseOf(entry))
	case entry.Kind == Leave:
		r.members.left(entry.Replica)
	}
	r.showLocked(&v)
}

// gapLocked clears the cache, because entries may have been missed. One of them may
// be an intent, so every key is held for as long as a write can last.
func (r *Replica) gapLocked() {
	r.epochs.flush(subjects.Root)
	r.cache.Clear()
	r.flushes.Add(1)
	if !off(GapHold) {
		r.knownSince = time.Now()
		r.holdUnknownLocked()
	}
	r.unsureLocked(r.memoryLocked())
	r.members.unknownSince(time.Now())
}

// holdUnknownLocked holds every key for as long as a write may last that was announced
// before knownSince.
func (r *Replica) holdUnknownLocked() {
	if until := r.knownSince.Add(r.longest); until.After(r.holdAll) {
		r.holdAll = until
	}
}

// lost notes why the log cannot be followed for now.
func (r *Replica) lost(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := *r.view.Load()
	v.lost = reason
	if r.config.Mode != Off {
		v.lease = deadline{}
	}
	r.showLocked(&v)
}

// applyLocked carries out an entry.
func (r *Replica) applyLocked(at subjects.Revision, entry *subjects.Event) {
	if changesNothing(entry.Kind) {
		return
	}
	if entry.Kind == Flush && entry.ID == "" {
		if !off(FlushEpoch) {
			r.epochs.flush(entry.Scope)
		}
		r.flushes.Add(1)
		r.cache.DropSubtree(string(entry.Scope))
		return
	}
	key := entry.Target
	switch entry.Kind {
	case Intent:
		r.intendLocked(at, entry)
	case Unknown:
		if off(UnknownHold) {
			r.endLocked(entry)
			return
		}
		// It may still take effect: the store's own time limit has passed, but
		// a request on its way to the store is granted as much again.
		r.dropLocked(key)
		r.holdLocked(key, entry.WriteID, 2*r.holdOf(entry))
	case Flush:
		r.dropLocked(key)
	default:
		r.endLocked(entry)
	}
}

// dropLocked makes every token of a key void, and drops the key from the cache.
func (r *Replica) dropLocked(key subjects.Target) {
	*r.generation(key)++
	r.cache.Drop(string(key.Scope), string(key.ID))
}
