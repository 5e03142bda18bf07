// Package coherencetest holds a log in memory, to run replicas on without a
// server.
package coherencetest

import (
	"context"
	"sync"

	"credbus/internal/coherence"
	"credbus/subjects"
)

// Log is a coherence.Log in memory. Each follower is fed by a goroutine of its
// own, in order, and may lag behind the others.
type Log struct {
	mu      sync.Mutex
	stream  uint64
	entries []*subjects.Event
	grown   chan struct{}
	failure error
	held    bool
}

// NewLog returns an empty log.
func NewLog() *Log { return &Log{stream: 1, grown: make(chan struct{})} }

// Append implements coherence.Log.
func (l *Log) Append(ctx context.Context, entry *subjects.Event) (subjects.Revision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return subjects.Revision{}, err
	}
	if l.failure != nil {
		return subjects.Revision{}, l.failure
	}
	stored := *entry
	l.entries = append(l.entries, &stored)
	l.wakeLocked()
	return l.revisionLocked(len(l.entries)), nil
}

// End implements coherence.Log.
func (l *Log) End(ctx context.Context) (subjects.Revision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return subjects.Revision{}, err
	}
	if l.failure != nil {
		return subjects.Revision{}, l.failure
	}
	return l.revisionLocked(len(l.entries)), nil
}

// Fail makes Append and End return err; nil ends that.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
}

// Hold keeps entries from the followers until Release: they lag behind.
func (l *Log) Hold() { l.setHeld(true) }

// Release hands over what was held.
func (l *Log) Release() { l.setHeld(false) }

func (l *Log) setHeld(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
	l.wakeLocked()
}

// Recreate drops all entries and begins another stream, as when somebody
// deletes a stream and it is created anew.
func (l *Log) Recreate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream++
	l.entries = nil
	l.wakeLocked()
}

func (l *Log) wakeLocked() {
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *Log) revisionLocked(n int) subjects.Revision {
	return subjects.Revision{Stream: l.stream, Seq: uint64(n)}
}

// Follow implements coherence.Log.
func (l *Log) Follow(ctx context.Context, f coherence.Follower) {
	var stream uint64
	next := 0
	for ctx.Err() == nil {
		l.mu.Lock()
		grown := l.grown
		if stream != l.stream && !l.held {
			known := stream != 0
			stream, next = l.stream, len(l.entries)
			at := l.revisionLocked(next)
			l.mu.Unlock()
			f.Begin(known)
			f.Current(at)
			continue
		}
		if !l.held && next < len(l.entries) {
			entry, at := l.entries[next], l.revisionLocked(next+1)
			next++
			l.mu.Unlock()
			f.Apply(at, entry)
			continue
		}
		l.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
		}
	}
}
