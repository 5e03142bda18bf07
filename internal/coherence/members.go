package coherence

import (
	"context"
	"sync"
	"time"

	"credbus/subjects"
)

// members are the replicas that may answer from their caches, as their pings
// in the log tell. A replica's lease ends a Lease after it sent a ping, which
// is before this replica was handed the ping, so a Lease after that it has
// ended, whatever became of that replica. And a ping that comes after an intent
// gives a lease to a replica that has applied the intent.
//
// So a strict write has to wait, for each replica that pinged before its
// intent, until that replica acknowledges the intent or a Lease has passed
// since that ping; and needs no list of who takes part.
type members struct {
	mu      sync.Mutex
	seen    map[string]time.Time       // when the last ping of each was delivered
	acks    map[string]map[string]bool // by write: the replicas that have applied its intent
	changed chan struct{}              // closed and renewed with each acknowledgement
}

// anybody stands for the replicas whose pings this one may have missed.
const anybody = ""

func (m *members) init() {
	m.seen = make(map[string]time.Time)
	m.acks = make(map[string]map[string]bool)
	m.changed = make(chan struct{})
}

func (m *members) pinged(replica string, now time.Time) {
	const forget = time.Minute // longer than any lease
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.seen[replica]; !known {
		for other, seen := range m.seen {
			if now.Sub(seen) > forget {
				delete(m.seen, other)
			}
		}
	}
	m.seen[replica] = now
}

// unknownSince says that replicas may have pinged which this one has not heard.
func (m *members) unknownSince(now time.Time) { m.pinged(anybody, now) }

func (m *members) left(replica string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.seen, replica)
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

// expect begins to note who acknowledges a write; forget ends that.
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

// leases is when the leases that the pings so far gave have ended for certain.
func (m *members) leases(lease time.Duration) map[string]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	ends := make(map[string]time.Time)
	for replica, seen := range m.seen {
		switch end := seen.Add(lease); {
		case !time.Now().Before(end):
			delete(m.seen, replica)
		case replica == anybody && off(UnknownMembers):
		default:
			ends[replica] = end
		}
	}
	return ends
}

// pending is the latest of ends of those that have not acknowledged write, zero
// if all have.
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

// awaitMembers returns once no replica can answer a read from before the intent
// of write, which this one has been handed. Pings that come after the intent
// do not matter, so it takes no longer than a Lease.
func (r *Replica) awaitMembers(ctx context.Context, write string) error {
	if off(StrictWait) {
		return nil
	}
	for ends := r.members.leases(r.config.Lease); ; {
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

// Leave tells the others that this replica answers nothing any more, so that
// none of their writes waits for it. It is to be called once that is so.
func (r *Replica) Leave(ctx context.Context) error {
	_, err := r.log.Append(ctx, r.entry(Leave, subjects.Target{}, ""))
	return err
}
