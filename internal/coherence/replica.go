package coherence

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"credbus/subjects"
)

// Cache is what a replica does to its cache.
type Cache interface {
	Drop(scope, id string)
	DropSubtree(scope string) // the scope and all below it
	Clear()
}

// Config holds a replica's settings.
type Config struct {
	// Hold is how long a key stays held when no done releases it. No write
	// may take longer from its intent to its end; Replica.Write sees to that.
	// Default 10 s.
	Hold time.Duration
}

// Trusted is the trust state of a replica that answers from its cache.
const Trusted = "trusted"

// stripes is the number of generation counters. Keys that share one refuse
// each other's fills now and then, nothing worse.
const stripes = 1024

// Replica is one replica's part in the protocol.
type Replica struct {
	log   Log
	cache Cache
	hold  time.Duration
	seed  maphash.Seed

	// view is read on every hit, without the lock.
	view atomic.Pointer[view]

	refused atomic.Int64 // fills

	// mu orders what is applied with what is filled: a fill that holds it has
	// either been dropped again or seen the new generation.
	mu          sync.Mutex
	epoch       uint64 // counts flushes
	generations [stripes]uint64
	holds       map[subjects.Target]map[string]time.Time // write id to deadline
	holdAll     time.Time                                // everything is held until then
	applied     chan struct{}                            // closed and renewed when view changes
}

// view is what a hit needs to know.
type view struct {
	applied subjects.Revision
	text    string // of applied
	field   []byte // applied, as AppendRevision encodes it
	trust   string
}

// Token remembers the state of a key before its store is read. Tokens are
// comparable: reads with equal tokens may share one result.
type Token struct {
	Epoch, Generation uint64
}

// NewReplica returns a replica that trusts its cache once Run has followed the
// log to its end.
func NewReplica(log Log, cache Cache, config Config) *Replica {
	if config.Hold <= 0 {
		config.Hold = 10 * time.Second
	}
	r := &Replica{
		log:     log,
		cache:   cache,
		hold:    config.Hold,
		seed:    maphash.MakeSeed(),
		holds:   make(map[subjects.Target]map[string]time.Time),
		applied: make(chan struct{}),
	}
	r.show(subjects.Revision{}, "starting")
	return r
}

// Run follows the log until ctx ends.
func (r *Replica) Run(ctx context.Context) { r.log.Follow(ctx, (*follower)(r)) }

// Applied is the revision that the replica has applied.
func (r *Replica) Applied() subjects.Revision { return r.view.Load().applied }

// AppendApplied closes an open reply, as subjects.AppendRevision does, with the
// revision that the replica has applied.
func (r *Replica) AppendApplied(reply []byte) []byte {
	return append(reply, r.view.Load().field...)
}

// Including is the revision of an answer that shows the write of an intent: the
// one that the replica has applied or, if the store is ahead of that, the
// intent's. Who asks another replica with it is answered nothing older.
func (r *Replica) Including(intent subjects.Revision) subjects.Revision {
	if r.ahead(intent) {
		return intent
	}
	return r.Applied()
}

// ahead reports whether an intent is still to be applied. One of another stream
// than is followed counts as over: a store that was moved here from elsewhere
// has many, and none of them will ever come.
func (r *Replica) ahead(intent subjects.Revision) bool {
	applied := r.Applied()
	return intent.Compare(applied) > 0 && (intent.Stream == applied.Stream || applied.IsZero())
}

// End is the revision of an answer that shows something to be missing: nothing
// in the store tells which write took it away. It is to be called after the
// store was read.
func (r *Replica) End(ctx context.Context) (subjects.Revision, error) { return r.log.End(ctx) }

// Trust is Trusted, or why the replica does not answer from its cache.
func (r *Replica) Trust() string { return r.view.Load().trust }

// MayHit reports whether a cached entry may answer a read that asks for at
// least revision min. It needs no look at the holds: what is held is not in
// the cache.
func (r *Replica) MayHit(min subjects.Revision) bool {
	v := r.view.Load()
	return v.trust == Trusted && min.Compare(v.applied) <= 0
}

// MayHitText is MayHit for the text of a revision, which most often is that of
// the revision that the replica has applied, and then need not be read.
func (r *Replica) MayHitText(min []byte) bool {
	v := r.view.Load()
	if v.trust != Trusted {
		return false
	}
	if len(min) == 0 || string(min) == v.text {
		return true
	}
	revision, err := subjects.ParseRevision(string(min))
	return err == nil && revision.Compare(v.applied) <= 0
}

// Token is to be taken before the store is read. Without ok the read must go
// to the store by itself: it joins no other and fills nothing.
func (r *Replica) Token(key subjects.Target, min subjects.Revision) (token Token, ok bool) {
	if !r.MayHit(min) {
		return Token{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heldLocked(key) {
		return Token{}, false
	}
	return r.tokenLocked(key), true
}

// Fill calls put if nothing happened to the key since token was taken, and
// reports whether it did. intent is that of the write which made what was read:
// if it is still to be applied, a hit would carry too low a revision.
func (r *Replica) Fill(key subjects.Target, token Token, intent subjects.Revision, put func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Trust() != Trusted || r.ahead(intent) || r.heldLocked(key) || r.tokenLocked(key) != token {
		r.refused.Add(1)
		return false
	}
	put()
	return true
}

// Refused is the number of fills that were refused since the start.
func (r *Replica) Refused() int64 { return r.refused.Load() }

func (r *Replica) tokenLocked(key subjects.Target) Token {
	return Token{Epoch: r.epoch, Generation: *r.generation(key)}
}

func (r *Replica) generation(key subjects.Target) *uint64 {
	return &r.generations[maphash.Comparable(r.seed, key)%stripes]
}

func (r *Replica) heldLocked(key subjects.Target) bool {
	now := time.Now()
	if now.Before(r.holdAll) {
		return true
	}
	writes, ok := r.holds[key]
	if !ok {
		return false
	}
	for id, deadline := range writes {
		if !now.Before(deadline) {
			delete(writes, id)
		}
	}
	if len(writes) == 0 {
		delete(r.holds, key)
	}
	return len(writes) > 0
}

// Write runs commit, which changes key in the store, between an intent and a
// done. write names it, and must never name another. It returns a revision that
// includes the change, and whether commit ran: if it did not, nothing was
// written.
//
// commit is given the revision of the intent, which the store is to keep with
// what is written, and must have ended when its context does. It returns the
// event that tells of the change; on an error it returns what the error leaves
// of the key: Unchanged or Unknown.
func (r *Replica) Write(ctx context.Context, key subjects.Target, write string,
	commit func(ctx context.Context, intent subjects.Revision) (*subjects.Event, error),
) (revision subjects.Revision, ran bool, err error) {
	// The replicas count from when they see the intent, which is later.
	ctx, cancel := context.WithTimeout(ctx, r.hold)
	defer cancel()

	intent := &subjects.Event{Kind: Intent, Target: key, WriteID: write, At: time.Now()}
	revision, err = r.log.Append(ctx, intent)
	if err != nil {
		return revision, false, fmt.Errorf("announce the write: %w", err)
	}
	r.apply(intent) // before the log brings it: this replica is the first to know

	done, commitErr := commit(ctx, revision)
	done.Target, done.WriteID, done.At, done.Revision = key, write, time.Now(), revision

	// The store has changed, whatever became of the caller.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), r.hold)
	defer cancel()
	at, err := r.log.Append(ctx, done)
	r.apply(done)
	if err == nil {
		revision = at
	} else if commitErr == nil {
		// Every replica has dropped the key and holds it. What is missing is
		// the public event and an early release.
		err = fmt.Errorf("%w: %w", ErrUnannounced, err)
	}
	if commitErr != nil {
		err = commitErr
	}
	return revision, true, err
}

// ErrUnannounced is returned by Write when the store was changed and no
// replica serves what was before, but the change event could not be published.
var ErrUnannounced = errors.New("written, but its change event was not published")

// Flush makes every replica drop what it has cached of a scope and all below
// it or, when target has an ID, of one credential.
func (r *Replica) Flush(ctx context.Context, target subjects.Target) (subjects.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, r.hold) // as long as a write has
	defer cancel()
	return r.log.Append(ctx, &subjects.Event{Kind: Flush, Target: target, At: time.Now()})
}

// Await returns once the replica has applied at, or with the error of ctx.
func (r *Replica) Await(ctx context.Context, at subjects.Revision) error {
	for {
		r.mu.Lock()
		changed := r.applied
		r.mu.Unlock()
		if at.Compare(r.Applied()) <= 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// AwaitTrust returns once the replica trusts its cache, or with the error of
// ctx and the reason why it does not.
func (r *Replica) AwaitTrust(ctx context.Context) error {
	for {
		r.mu.Lock()
		changed := r.applied
		r.mu.Unlock()
		trust := r.Trust()
		if trust == Trusted {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", trust, ctx.Err())
		}
	}
}
