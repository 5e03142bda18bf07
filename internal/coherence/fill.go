package coherence

import (
	"hash/maphash"
	"time"

	"credbus/subjects"
)

// Token remembers the state of a key before its store is read. Tokens are
// comparable: reads with equal tokens may share one result.
type Token struct {
	Epoch, Generation uint64
}

// Token returns the state of a key, and must be called before the store is read.
// Without ok the read must go to the store by itself: it joins no other read and
// fills nothing.
func (r *Replica) Token(key subjects.Target, min subjects.Revision) (token Token, ok bool) {
	look := r.Look()
	if !look.Reached(min) || !look.Live() && !off(TokenLease) {
		return Token{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heldLocked(key) {
		return Token{}, false
	}
	return r.tokenLocked(key), true
}

// Answer is what the store returned for a key.
type Answer struct {
	// Asked is when the store was asked. A store that lags may answer with the state
	// of a Lag before that.
	Asked   time.Time
	Version string // of the record found
	// Revision is that of the intent of the write that made the record found or, if
	// it is missing, what End returned after the read.
	Revision subjects.Revision
	Absent   bool
}

// Fill calls put if nothing happened to the key since token was taken, and
// reports whether it did. It refuses what is ahead of what the replica has applied,
// since a hit would carry too low a revision. An answer of a store that lags must be
// Settled. Fill needs no valid lease: the replica applies all that it missed before
// the next one.
func (r *Replica) Fill(key subjects.Target, token Token, answer Answer, put func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tokenLocked(key) != token && !off(FillToken) || r.ahead(answer.Revision) {
		r.refused.Add(1)
		return false
	}
	put()
	return true
}

func (r *Replica) tokenLocked(key subjects.Target) Token {
	store := ""
	if r.config.Store != nil {
		store = r.config.Store(key.Scope)
	}
	return Token{Epoch: r.epochs.of(key.Scope, store), Generation: *r.generation(key)}
}

func (r *Replica) generation(key subjects.Target) *uint64 {
	return &r.generations[maphash.Comparable(r.seed, key)%stripes]
}
