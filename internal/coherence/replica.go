package coherence

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"credbus/internal/lifecycle"
	"credbus/subjects"
)

// Cache is what a replica needs of its cache: ways to drop records.
type Cache interface {
	Drop(scope, id string)
	DropSubtree(scope string)                // the scope and all below it
	DropScopes(drop func(scope string) bool) // each scope for which drop returns true
	Clear()
}

// Mode says what a write waits for, and so what a cached read promises.
type Mode string

// The modes.
const (
	// Bounded: a replica that is cut off may answer from its cache with a state
	// that was current at most one Lease ago.
	Bounded Mode = "bounded"
	// Strict: reads and writes are linearizable. A write waits until every
	// replica that could answer from its cache has dropped the key.
	Strict Mode = "strict"
	// Off: replicas trust their caches always. It shows what the protocol costs,
	// and serves nothing else.
	Off Mode = "off"
)

// DefaultLease is how long a replica may answer from its cache after it has
// proved that it had applied the whole log.
const DefaultLease = 2 * time.Second

// MaxLease bounds the lease that a replica grants itself, and the lease that it believes
// of another replica. A strict write that waits that long still has time for the store.
const MaxLease = 5 * time.Second

// MaxHold bounds the hold that a replica grants another replica's write. It is longer
// than any write timeout that may be set.
const MaxHold = 2 * time.Hour

// Config holds a replica's settings.
type Config struct {
	// Name is unique to this run of this replica, and one token of a NATS
	// subject. Default: a random one.
	Name string
	Mode Mode // of this replica's writes; default Bounded
	// Lease bounds the staleness of a cached read of this replica. Its pings announce
	// it to the others. Default DefaultLease, at most MaxLease.
	Lease time.Duration
	// LongestLease is the longest Lease of any replica, as far as it is known before
	// the first ping is heard. Default Lease.
	LongestLease time.Duration
	// Protocol is the version of the protocol that the replica's pings announce.
	// Default Protocol.
	Protocol int
	// OtherProtocol is called once for each other version that is heard, with the first
	// replica that has it. It must not wait for anything. May be nil.
	OtherProtocol func(version int, replica string)
	// Hold is how long a key stays held if no done releases it. Replica.Write lets
	// no write take longer from its intent to its end. The intent announces Hold to
	// the other replicas. Default 10 s, at most MaxHold.
	Hold time.Duration
	// Longest is the longest Hold of any replica, as far as it is known before the
	// first entry is heard. Default Hold.
	Longest time.Duration
	// Lag is for how long after a write a store may still answer with the old state;
	// of several stores, the longest. Zero if none does.
	Lag time.Duration
	// Read is how long a read of a store that lags may take. A slower answer counts as
	// outdated. Default 5 s.
	Read time.Duration
	// Lags reports whether the store of a scope may lag. Nil: each may, if Lag is not
	// zero.
	Lags func(subjects.Scope) bool
	// Store is the name of the store that keeps a scope. Nil: one store keeps all.
	Store func(subjects.Scope) string
	// Newer reports whether the store of a scope gave version a after version b.
	// known is false if nobody can say. Nil: never known.
	Newer func(scope subjects.Scope, a, b string) (newer, known bool)
	// Observe is called with the entry that ends another replica's write, if that took
	// effect, before the key is released; perhaps twice. It must not wait for anything.
	// Nil: no Index is used.
	Observe func(*subjects.Event)
	Logger  *slog.Logger // default slog.Default()
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = rand.Text()
	}
	if c.Mode == "" {
		c.Mode = Bounded
	}
	if c.Lease <= 0 {
		c.Lease = DefaultLease
	}
	c.Lease = min(c.Lease, MaxLease)
	c.LongestLease = min(max(c.LongestLease, c.Lease), MaxLease)
	if c.Protocol <= 0 {
		c.Protocol = Protocol
	}
	if c.Hold <= 0 {
		c.Hold = 10 * time.Second
	}
	c.Hold = min(c.Hold, MaxHold)
	c.Longest = min(max(c.Longest, c.Hold), MaxHold)
	if c.Read <= 0 {
		c.Read = 5 * time.Second
	}
	if c.Lags == nil {
		c.Lags = func(subjects.Scope) bool { return true }
	}
	if c.Newer == nil {
		c.Newer = func(subjects.Scope, string, string) (newer, known bool) { return false, false }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// stripes is the number of generation counters. Keys that share one refuse
// each other's fills now and then, nothing worse.
const stripes = 1024

// Replica is one replica's part in the protocol. Its methods may be called
// concurrently.
type Replica struct {
	config Config
	log    Log
	cache  Cache
	seed   maphash.Seed

	running lifecycle.Turn

	// view is read on every hit, without the lock.
	view atomic.Pointer[view]

	refused atomic.Int64 // fills
	flushes atomic.Int64 // times that a scope or everything was dropped

	lease     leaseKeeper
	members   members
	protocols protocols
	outside   outside

	// mu orders entries and fills: an entry drops what was filled before it, and
	// refuses later fills whose token has an older generation.
	mu          sync.Mutex
	position    subjects.Revision // the last entry delivered
	joined      bool              // position.Seq belongs to an entry, so the next one is known
	epochs      epochs            // of scopes that were flushed
	generations [stripes]uint64
	keys        map[subjects.Target]*keyState // the state of keys written lately
	holdAll     time.Time                     // everything is held until then
	knownSince  time.Time                     // every intent since then is known
	longest     time.Duration                 // the longest hold of a replica so far
	unsure      time.Time                     // until then, recent writes may be unknown
	changed     chan struct{}                 // closed and renewed when view changes
}

// view is what a read needs to know.
type view struct {
	// applied is the last entry that changed anything, followed the last of any kind.
	// Replies carry applied: with followed, a mere ping would send a client's next
	// read past the cache of a replica that is one ping behind.
	applied, followed subjects.Revision
	text              string // of applied
	field             []byte // applied, as AppendRevision encodes it
	lease             deadline
	lost              string // why the log is not followed, "" if it is
}

// NewReplica returns a replica that trusts its cache once Run has followed the
// log to its end.
func NewReplica(log Log, cache Cache, config Config) *Replica {
	r := &Replica{
		config:  config.withDefaults(),
		log:     log,
		cache:   cache,
		seed:    maphash.MakeSeed(),
		keys:    make(map[subjects.Target]*keyState),
		changed: make(chan struct{}),
	}
	r.longest = r.config.Longest
	r.lease.init()
	r.members.init(r.config.LongestLease)
	v := &view{lost: "starting"}
	if r.config.Mode == Off {
		v.lease = forever
	}
	r.showLocked(v)
	return r
}

// Run follows the log until ctx ends. It may be called again after that. See package
// lifecycle.
func (r *Replica) Run(ctx context.Context) { r.running.Do(ctx, func() { r.run(ctx) }) }

func (r *Replica) run(ctx context.Context) {
	const pause = 100 * time.Millisecond
	var group sync.WaitGroup
	defer group.Wait()
	defer r.lost("stopped")
	group.Go(func() { r.keepLease(ctx) })
	r.outside.start(ctx)
	defer r.outside.stop()
	for {
		r.mu.Lock()
		from, memory := r.position, r.memoryLocked()
		r.mu.Unlock()
		err := r.log.Follow(ctx, r.config.Name, from, memory, (*follower)(r))
		if ctx.Err() != nil {
			return
		}
		r.config.Logger.Warn("event stream interrupted; reads go to the store until it is back", "error", err)
		r.lost("the event stream cannot be followed")
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// Strict reports whether this replica's writes wait for the others.
func (r *Replica) Strict() bool { return r.config.Mode == Strict }

// Name returns the name of the replica, unique to this run.
func (r *Replica) Name() string { return r.config.Name }

// Applied returns the revision that the replica has applied.
func (r *Replica) Applied() subjects.Revision { return r.view.Load().applied }

// AppendApplied closes an open reply with the revision that the replica has applied,
// as subjects.AppendRevision does. Call it after the reply's content was read: a reply
// that is newer than its revision could be followed by an older one.
func (r *Replica) AppendApplied(reply []byte) []byte {
	return append(reply, r.view.Load().field...)
}

// Including is the revision of an answer that shows the write of an intent: the
// revision that the replica has applied or, if the store is ahead of that, the
// intent's. A read that names it at another replica gets nothing older.
func (r *Replica) Including(intent subjects.Revision) subjects.Revision {
	if r.ahead(intent) {
		return intent
	}
	return r.Applied()
}

// ahead reports whether the replica has yet to apply an intent. An intent of another
// stream than the replica follows counts as applied; see Newer.
func (r *Replica) ahead(intent subjects.Revision) bool {
	if off(ReadAhead) {
		return false
	}
	followed := r.view.Load().followed
	return intent.Compare(followed) > 0 && (intent.Stream == followed.Stream || followed.IsZero())
}

// Newer reports whether an intent is of a later stream than the replica follows.
// Either the stream was created anew a moment ago, or the store was moved here from
// where there is another stream. The result of End shows which.
func (r *Replica) Newer(intent subjects.Revision) bool {
	followed := r.view.Load().followed
	return intent.Stream > followed.Stream && !followed.IsZero() && !off(ReadAhead)
}

// End is the revision of an answer that shows something to be missing: nothing
// in the store says which write removed it. Call it after the store was read. When
// the log does not answer within limit, End waits until every lease that was given
// before the call has run out, and returns what this replica has applied. After
// that, a replica that answers from a cache has applied all that was in the log
// when End was called.
func (r *Replica) End(ctx context.Context, limit time.Duration) (subjects.Revision, error) {
	if off(AbsenceRevision) {
		return r.Applied(), nil
	}
	expired := time.NewTimer(r.members.longestLease())
	defer expired.Stop()
	asking, cancel := context.WithTimeout(ctx, min(limit, r.config.Lease))
	defer cancel()
	end, err := r.log.End(asking)
	if err == nil {
		return end, nil
	}
	select {
	case <-expired.C:
		return r.Applied(), nil
	case <-ctx.Done():
		return subjects.Revision{}, ctx.Err()
	}
}

// Refused is the number of fills that were refused since the start.
func (r *Replica) Refused() int64 { return r.refused.Load() }

// Flushes is how often a scope, or everything, was dropped since the start.
func (r *Replica) Flushes() int64 { return r.flushes.Load() }

// Flush makes every replica drop what it has cached of a scope and all below
// it or, when target has an ID, of one credential.
func (r *Replica) Flush(ctx context.Context, target subjects.Target) (subjects.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.Hold) // the limit of a write
	defer cancel()
	return r.log.Append(ctx, r.entry(Flush, target, ""))
}

// entry returns an entry of this replica. An intent, an unknown and a ping carry its
// hold, and a ping also its lease and protocol.
func (r *Replica) entry(kind subjects.EventKind, key subjects.Target, write string) *subjects.Event {
	entry := &subjects.Event{Kind: kind, Target: key, WriteID: write, Replica: r.config.Name, At: time.Now()}
	switch kind {
	case Intent, Unknown, Ping:
		entry.Hold = r.config.Hold
	}
	if kind == Ping {
		entry.Lease, entry.Protocol = r.config.Lease, r.config.Protocol
	}
	return entry
}

// Await returns once the replica has applied at, or with the error of ctx.
func (r *Replica) Await(ctx context.Context, at subjects.Revision) error {
	return r.await(ctx, func() bool { return at.Compare(r.view.Load().followed) <= 0 })
}

// AwaitTrust returns once the replica trusts its cache. Its error says why the replica
// does not, and wraps that of ctx, or ErrNoRoom.
func (r *Replica) AwaitTrust(ctx context.Context) error {
	for {
		r.lease.kick() // an idle replica has no lease, and a ping may get lost
		attempt, cancel := context.WithTimeout(ctx, r.config.Lease/4)
		err := r.await(attempt, func() bool { return r.Trust() == Trusted })
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", r.Trust(), ctx.Err())
		}
		if r.lease.noRoom.Load() {
			return fmt.Errorf("%s: %w", r.Trust(), ErrNoRoom)
		}
	}
}

// await returns once done reports true. It asks again after each change of the view.
func (r *Replica) await(ctx context.Context, done func() bool) error {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if done() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// showLocked replaces the view and wakes all that wait for a change.
func (r *Replica) showLocked(v *view) {
	r.view.Store(v)
	close(r.changed)
	r.changed = make(chan struct{})
}
