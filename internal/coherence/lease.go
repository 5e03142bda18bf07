package coherence

import (
	"context"
	"errors"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"credbus/subjects"
)

// leaseKeeper renews a lease by self-echo. The replica notes the time and appends
// a ping. When the log delivers that ping in order, the replica has applied
// everything that was in the log at the noted time: until a Lease after that time
// its cache is at most a Lease behind. No clocks are compared. And since an append
// takes a majority, a part of the log that is cut off cannot extend a lease.
//
// A replica that gets no reads lets its lease run out. The first read after that
// waits a moment for a new lease: one append makes the whole cache usable again.
type leaseKeeper struct {
	wanted atomic.Bool // a read has looked since the last ping
	wake   chan struct{}
	noRoom atomic.Bool // the log did not take the last ping, for lack of room

	mu      sync.Mutex
	sent    map[string]time.Time // pings under way, by nonce
	nonce   uint64
	idle    bool
	waiting time.Time // reads wait for a lease until then
}

// renewWait is how long the reads that wake an idle replica wait for its lease.
const renewWait = 100 * time.Millisecond

// Trusted is the trust state of a replica that answers from its cache.
const Trusted = "trusted"

func (k *leaseKeeper) init() {
	k.wake = make(chan struct{}, 1)
	k.sent = make(map[string]time.Time)
}

// deadline is a time by both clocks of this machine. The monotonic clock may
// stand still while a virtual machine is suspended, and the wall clock may be set:
// a lease is over when either says so.
type deadline struct {
	at   time.Time
	wall int64 // of at, in Unix nanoseconds
}

var forever = deadline{time.Unix(math.MaxInt32, 0), math.MaxInt64}

func deadlineAt(at time.Time) deadline { return deadline{at, at.UnixNano()} }

func (d deadline) after(now time.Time) bool { return now.Before(d.at) && now.UnixNano() < d.wall }

// Look is the state of a replica as a read finds it. A read must take it before it
// reads the cache.
type Look struct {
	view *view
	live bool // at the time of the look; used without LeaseRecheck only
}

// Look begins a read of the cache. A read may return a cached entry if Reached holds
// for the revision that it names and if, after the entry was opened, Live holds.
func (r *Replica) Look() Look {
	if !r.lease.wanted.Load() {
		r.lease.wanted.Store(true)
	}
	look := Look{view: r.view.Load()}
	if off(LeaseRecheck) {
		look.live = look.view.live()
	}
	return look
}

// Reached reports whether the replica has applied a revision.
func (l Look) Reached(min subjects.Revision) bool {
	return min.Compare(l.view.followed) <= 0 || l.view.lease == forever || off(RevisionCheck)
}

// ReachedText is Reached for the text of a revision. Most often that is the revision
// that the replica has applied, and then need not be parsed.
func (l Look) ReachedText(min []byte) bool {
	if len(min) == 0 || string(min) == l.view.text {
		return true
	}
	revision, err := subjects.ParseRevision(string(min))
	return err == nil && l.Reached(revision)
}

// Live reports whether the lease is valid. If it is so after an entry was opened,
// the entry was current at most a Lease before now, however long the process was
// paused in between.
func (l Look) Live() bool {
	atRecheck()
	if off(LeaseRecheck) {
		return l.live
	}
	return l.view.live()
}

func (v *view) live() bool {
	if off(LeaseExpiry) {
		return v.lease != deadline{}
	}
	return v.lease == forever || v.lease.after(time.Now())
}

// Trust is Trusted, or why the replica does not answer from its cache.
func (r *Replica) Trust() string {
	v := r.view.Load()
	switch {
	case v.lost != "":
		return v.lost
	case v.live():
		return Trusted
	case r.lease.noRoom.Load():
		return "no lease: the event stream has no room for what this replica appends"
	case r.lease.isIdle():
		return "idle: nothing was asked for a while"
	}
	return "no lease: the event stream does not bring back what this replica appends"
}

func (k *leaseKeeper) isIdle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.idle
}

// keepLease pings until ctx ends.
func (r *Replica) keepLease(ctx context.Context) {
	if r.config.Mode == Off {
		return
	}
	timer := time.NewTimer(r.config.Lease / 4)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			switch {
			case r.lease.wanted.Swap(false):
				r.ping(ctx)
			case !r.view.Load().live():
				r.lease.rest()
				continue // until it is woken
			}
		case <-r.lease.wake:
			r.ping(ctx)
		case <-ctx.Done():
			return
		}
		timer.Reset(r.config.Lease / 4)
	}
}

func (k *leaseKeeper) rest() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle = true
	clear(k.sent)
}

func (k *leaseKeeper) kick() {
	select {
	case k.wake <- struct{}{}:
	default: // one is due already
	}
}

// ping appends a ping. Whether that succeeds shows when it is delivered.
func (r *Replica) ping(ctx context.Context) {
	if r.view.Load().lost != "" {
		return // Open will ask for another one
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.Lease/2)
	defer cancel()
	ping := r.entry(Ping, subjects.Target{}, r.lease.begin(r.config.Lease))
	_, err := r.log.Append(ctx, ping)
	r.lease.noRoom.Store(errors.Is(err, ErrNoRoom))
}

// begin notes the time of a ping and returns its nonce.
func (k *leaseKeeper) begin(lease time.Duration) (nonce string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.wakeLocked(now)
	for nonce, sent := range k.sent {
		if now.Sub(sent) > lease {
			delete(k.sent, nonce) // it would give a lease that has run out
		}
	}
	k.nonce++
	nonce = strconv.FormatUint(k.nonce, 36)
	k.sent[nonce] = now
	return nonce
}

// echoed is the lease that the delivery of a ping gives.
func (k *leaseKeeper) echoed(nonce string, lease time.Duration) (deadline, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sent, ok := k.sent[nonce]
	delete(k.sent, nonce)
	if off(LeaseStart) {
		sent = time.Now()
	}
	return deadlineAt(sent.Add(lease)), ok
}

// Renew waits a moment for a lease if the replica has none because it was idle.
func (r *Replica) Renew(ctx context.Context) {
	if r.view.Load().lost != "" {
		return
	}
	wait := r.lease.waking()
	if wait <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_ = r.await(ctx, func() bool {
		v := r.view.Load()
		return v.lost != "" || v.live()
	})
}

// waking returns how long to wait for a lease. If the replica was idle, waking also
// asks for the lease.
func (k *leaseKeeper) waking() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.wakeLocked(now) {
		k.kick()
	}
	return k.waiting.Sub(now)
}

func (k *leaseKeeper) wakeLocked(now time.Time) (wasIdle bool) {
	if k.idle {
		k.idle, wasIdle = false, true
		k.waiting = now.Add(renewWait)
	}
	return wasIdle
}
