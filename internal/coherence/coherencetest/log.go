// Package coherencetest holds a log in memory, to run replicas on without a
// server.
package coherencetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"credbus/internal/coherence"
	"credbus/subjects"
)

// Log is a coherence.Log in memory, shared by all replicas. Each follower is
// fed by a goroutine of its own, in order, and may lag behind the others.
type Log struct {
	mu        sync.Mutex
	stream    uint64
	first     uint64 // sequence of entries[0]
	entries   []entry
	grown     chan struct{}
	born      time.Time // zero: the stream replaced no other
	failure   error
	held      []string
	followers map[string]coherence.Follower
}

type entry struct {
	*subjects.Event
	at time.Time
}

// NewLog returns an empty log.
func NewLog() *Log {
	return &Log{stream: 1, first: 1, grown: make(chan struct{}), followers: make(map[string]coherence.Follower)}
}

// Append implements coherence.Log.
func (l *Log) Append(ctx context.Context, e *subjects.Event) (subjects.Revision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return subjects.Revision{}, err
	}
	if l.failure != nil {
		return subjects.Revision{}, l.failure
	}
	stored := *e
	l.entries = append(l.entries, entry{&stored, time.Now()})
	l.wakeLocked()
	return l.endLocked(), nil
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
	return l.endLocked(), nil
}

// Entries returns the entries of the log except pings.
func (l *Log) Entries() (events []subjects.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.Kind != coherence.Ping {
			events = append(events, *e.Event)
		}
	}
	return events
}

// Fail makes Append and End return err; nil ends that.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
}

// Hold keeps entries from the named replicas until Release, so that they lag behind.
func (l *Log) Hold(replicas ...string) { l.setHeld(replicas) }

// Release delivers the entries that Hold kept back.
func (l *Log) Release() { l.setHeld(nil) }

func (l *Log) setHeld(replicas []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = replicas
	l.wakeLocked()
}

// Recreate drops all entries and begins another stream, as when somebody
// deletes a stream and it is created anew.
func (l *Log) Recreate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream++
	l.first, l.entries, l.born = 1, nil, time.Now()
	l.wakeLocked()
}

// Trim removes all but the last n entries.
func (l *Log) Trim(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if drop := len(l.entries) - n; drop > 0 {
		l.entries = l.entries[drop:]
		l.first += uint64(drop)
	}
	l.wakeLocked()
}

// Truncate removes the last n entries, as when a stream is restored from a
// backup.
func (l *Log) Truncate(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = l.entries[:max(0, len(l.entries)-n)]
	l.wakeLocked()
}

func (l *Log) wakeLocked() {
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *Log) endLocked() subjects.Revision {
	return subjects.Revision{Stream: l.stream, Seq: l.first + uint64(len(l.entries)) - 1}
}

// Acknowledge implements coherence.Log.
func (l *Log) Acknowledge(from, to, write string) {
	l.mu.Lock()
	f := l.followers[to]
	l.mu.Unlock()
	if f != nil {
		f.Acknowledged(from, write)
	}
}

var errOther = errors.New("the log is another one, or lost its end")

// Follow implements coherence.Log.
func (l *Log) Follow(ctx context.Context, replica string, from subjects.Revision, window time.Duration, f coherence.Follower) error {
	l.mu.Lock()
	l.followers[replica] = f
	end := l.endLocked()
	next := end.Seq + 1
	if from.Stream == end.Stream && from.Seq > 0 && from.Seq <= end.Seq {
		next = from.Seq + 1
	} else {
		for next > l.first && time.Since(l.entries[next-1-l.first].at) <= window {
			next--
		}
	}
	age := coherence.Forever
	if !l.born.IsZero() {
		age = time.Since(l.born)
	}
	if l.first > 1 && len(l.entries) > 0 {
		age = min(age, time.Since(l.entries[0].at))
	}
	l.mu.Unlock()
	f.Open(end, age)
	for ctx.Err() == nil {
		l.mu.Lock()
		grown, last := l.grown, l.endLocked()
		if last.Stream != end.Stream || next > last.Seq+1 {
			l.mu.Unlock()
			return errOther
		}
		if !slices.Contains(l.held, replica) && next <= last.Seq {
			next = max(next, l.first)
			e := l.entries[next-l.first]
			l.mu.Unlock()
			f.Deliver(subjects.Revision{Stream: end.Stream, Seq: next}, e.Event)
			next++
			continue
		}
		l.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}
