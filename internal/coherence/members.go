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
// since its last ping; and needs no list of who takes part.
type members struct {
	mu      sync.Mutex
	seen    map[string]time.Time       // when the last ping of each was delivered
	acks    map[string]map[string]bool // by write: the replicas that have applied its intent
	changed chan struct{}              // closed and renewed with each change
}

// anybody stands for the replicas whose pings this one may have missed.
const anybody = ""

func (m *members) init() {
	m.seen = make(map[string]time.Time)
	m.acks = make(map[string]map[string]bool)
	m.changed = make(chan struct{})
}

func (m *members) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wakeLocked()
}

func (m *members) wakeLocked() {
	if len(m.acks) == 0 {
		return // nobody waits
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *members) pinged(replica string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
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
		m.wakeLocked()
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

// pending is how long to wait until no replica can answer from its cache that
// has not applied the intent of write.
func (m *members) pending(write string, lease time.Duration) (wait time.Duration, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for replica, seen := range m.seen {
		left := lease - now.Sub(seen)
		switch {
		case left <= 0:
			delete(m.seen, replica)
		case replica == anybody && off(UnknownMembers):
		case !m.acks[write][replica]:
			wait = max(wait, left)
		}
	}
	return wait, m.changed
}

// awaitMembers returns once no replica can answer a read from before the intent
// of write, which this one has been handed.
func (r *Replica) awaitMembers(ctx context.Context, write string) error {
	if off(StrictWait) {
		return nil
	}
	for {
		wait, changed := r.members.pending(write, r.config.Lease)
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
