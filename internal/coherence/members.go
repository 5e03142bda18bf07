package coherence

import (
	"context"
	"sync"
	"time"

	"credbus/subjects"
)

// members are the replicas that may answer from their caches, as their pings in the
// log show. A replica's lease ends a Lease after it sent a ping, and this replica
// receives the ping later. So a Lease after the receipt that lease has ended, whatever
// happened to the other replica. The ping says how long the Lease is, because replicas
// may have other settings. A ping after an intent gives a lease to a replica that has
// applied the intent.
//
// So a strict write has to wait, for each replica that pinged before its intent, until
// that replica acknowledges the intent or its Lease has passed since that ping. It
// needs no list of replicas.
type members struct {
	mu      sync.Mutex
	ends    map[string]time.Time       // by replica: when its leases so far have ended for certain
	unknown time.Time                  // before then, replicas may have pinged unheard
	longest time.Duration              // the longest Lease of a replica so far
	absurd  int64                      // leases that were longer than MaxLease
	acks    map[string]map[string]bool // by write: the replicas that have applied its intent
	changed chan struct{}              // closed and renewed with each acknowledgement
}

// anybody stands for the replicas whose pings this one may have missed.
const anybody = ""

func (m *members) init(longest time.Duration) {
	m.longest = longest
	m.ends = make(map[string]time.Time)
	m.acks = make(map[string]map[string]bool)
	m.changed = make(chan struct{})
}

// leaseOf is for how long the sender of a ping may answer from its cache, as it says.
// Earlier versions do not say it. No replica grants itself more than MaxLease, so an
// absurd lease counts as MaxLease.
func (r *Replica) leaseOf(ping *subjects.Event) time.Duration {
	switch {
	case ping.Lease <= 0 || off(SendersLease):
		return r.config.Lease
	case ping.Lease <= MaxLease:
		return ping.Lease
	}
	if r.members.isAbsurd() == 1 {
		r.config.Logger.Error("another worker announces a longer lease than any may have; strict writes wait for it as long as allowed; further ones are only counted",
			"replica", ping.Replica, "lease", ping.Lease, "allowed", MaxLease)
	}
	return MaxLease
}

func (m *members) isAbsurd() (count int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.absurd++
	return m.absurd
}

// AbsurdLeases is the number of pings so far whose lease was longer than MaxLease.
func (r *Replica) AbsurdLeases() int64 {
	r.members.mu.Lock()
	defer r.members.mu.Unlock()
	return r.members.absurd
}

// pinged notes a ping, which the log has just delivered and which gave a lease.
func (m *members) pinged(replica string, now time.Time, lease time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.ends[replica]; !known {
		for other, end := range m.ends {
			if !now.Before(end) {
				delete(m.ends, other)
			}
		}
	}
	if end := now.Add(lease); end.After(m.ends[replica]) {
		m.ends[replica] = end
	}
	m.longest = max(m.longest, lease)
}

// unknownSince notes that until now, replicas may have pinged unheard.
func (m *members) unknownSince(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unknown = now
}

// longestLease is the longest Lease of any replica heard so far, or configured.
func (m *members) longestLease() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.longest
}

func (m *members) left(replica string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ends, replica)
}

func (m *members) acknowledged(replica, write string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if acks := m.acks[write]; acks != nil {
		acks[replica] = true
		close(m.changed)
		m.changed = make(chan struct{})
	}
}

// expect starts to collect the acknowledgements of a write; forget stops that.
func (m *members) expect(write string) (forget func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acks[write] = make(map[string]bool)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.acks, write)
	}
}

// leases is when the leases that the pings so far gave will have ended for certain, by
// replica.
func (m *members) leases() map[string]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, ends := time.Now(), make(map[string]time.Time)
	for replica, end := range m.ends {
		if now.Before(end) {
			ends[replica] = end
		} else {
			delete(m.ends, replica)
		}
	}
	if end := m.unknown.Add(m.longest); now.Before(end) && !off(UnknownMembers) {
		ends[anybody] = end
	}
	return ends
}

// pending is the latest of the ends of those replicas that have not acknowledged
// write, zero if all have.
func (m *members) pending(ends map[string]time.Time, write string) (until time.Time, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for replica, end := range ends {
		if !m.acks[write][replica] && end.After(until) {
			until = end
		}
	}
	return until, m.changed
}

// awaitMembers returns once no replica can answer a read with the state before write,
// whose intent this replica has applied. Pings after the intent do not matter, so it
// takes no longer than the longest Lease.
func (r *Replica) awaitMembers(ctx context.Context, write string) error {
	if off(StrictWait) {
		return nil
	}
	for ends := r.members.leases(); ; {
		until, changed := r.members.pending(ends, write)
		wait := time.Until(until)
		if wait <= 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Leave tells the others that this replica no longer answers anything, so that none of
// their writes waits for it. Call it once that is so.
func (r *Replica) Leave(ctx context.Context) error {
	_, err := r.log.Append(ctx, r.entry(Leave, subjects.Target{}, ""))
	return err
}
