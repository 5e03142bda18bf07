//go:build simulation

package simulation

import (
	"context"
	"errors"
	"sync"
	"time"

	"credbus/internal/coherence"
	"credbus/subjects"
)

// journal is the ordered log that the links lead to.
type journal struct {
	mu        sync.Mutex
	stream    uint64
	first     uint64 // sequence of entries[0]
	entries   []journalEntry
	born      time.Time // zero: it replaced no other stream
	resets    int       // how often followers lost their stream
	grown     chan struct{}
	offline   bool
	retention time.Duration
}

type journalEntry struct {
	event *subjects.Event
	at    time.Time
}

func newJournal(retention time.Duration) *journal {
	return &journal{stream: 1, first: 1, grown: make(chan struct{}), retention: retention}
}

func (j *journal) append(e *subjects.Event) (subjects.Revision, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.offline {
		return subjects.Revision{}, errors.New("the stream is not there")
	}
	now := time.Now()
	copied := *e
	j.entries = append(j.entries, journalEntry{&copied, now})
	for len(j.entries) > 1 && now.Sub(j.entries[0].at) > j.retention {
		j.entries, j.first = j.entries[1:], j.first+1
	}
	j.wakeLocked()
	return j.endLocked(), nil
}

func (j *journal) endLocked() subjects.Revision {
	return subjects.Revision{Stream: j.stream, Seq: j.first + uint64(len(j.entries)) - 1}
}

// end is the last sequence.
func (j *journal) end() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.endLocked().Seq
}

func (j *journal) wakeLocked() {
	close(j.grown)
	j.grown = make(chan struct{})
}

// recreate acts like a stream that was deleted and made anew.
func (j *journal) recreate() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stream++
	j.first, j.entries, j.born = 1, nil, time.Now()
	j.resets++
	j.wakeLocked()
}

// truncate loses the last n entries, like a stream that is restored from a backup, and is
// offline for a while.
func (j *journal) truncate(n int, away time.Duration) {
	j.mu.Lock()
	j.entries = j.entries[:max(1, len(j.entries)-n)]
	j.resets++
	j.offline = true
	j.wakeLocked()
	j.mu.Unlock()
	time.Sleep(away)
	j.mu.Lock()
	j.offline = false
	j.wakeLocked()
	j.mu.Unlock()
}

// purge removes all but the last entry.
func (j *journal) purge() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.entries) - 1; n > 0 {
		j.entries, j.first = j.entries[n:], j.first+uint64(n)
	}
}

// link is a process's connection to the journal, and a coherence.Log.
type link struct {
	w       *world
	process *process

	mu       sync.Mutex
	up       bool
	changed  chan struct{} // closed and renewed when up changes
	follower coherence.Follower
}

var errLost = errors.New("lost on the way")

func newLink(w *world, p *process) *link {
	return &link{w: w, process: p, up: true, changed: make(chan struct{})}
}

func (l *link) set(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = up
	close(l.changed)
	l.changed = make(chan struct{})
}

// cross takes one message over the link. While the link is cut, the message waits or is
// lost.
func (l *link) cross(ctx context.Context) error {
	w := l.w
	if w.chance(w.faults.lose) {
		w.count("lost")
		<-ctx.Done()
		return errLost
	}
	time.Sleep(w.delay())
	for {
		l.mu.Lock()
		up, changed := l.up, l.changed
		l.mu.Unlock()
		if up {
			return nil
		}
		if w.chance(0.5) {
			<-ctx.Done()
			return errLost
		}
		select {
		case <-changed:
		case <-w.ended:
			return errLost
		}
	}
}

// Append implements coherence.Log. The caller may give up while the entry is
// still on its way.
func (l *link) Append(ctx context.Context, e *subjects.Event) (subjects.Revision, error) {
	if err := l.process.pass(); err != nil {
		return subjects.Revision{}, err
	}
	if l.w.crashes(l.process, beforeAppend(e)) {
		return subjects.Revision{}, errCrashed
	}
	sent := new(*e)
	sent.At = e.At.Add(time.Duration(l.process.clock.Load()))
	type result struct {
		at  subjects.Revision
		err error
	}
	done := make(chan result, 1)
	arrives, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	go func() {
		defer cancel()
		if err := l.cross(arrives); err != nil {
			done <- result{err: err}
			return
		}
		at, err := l.w.journal.append(sent)
		if err == nil {
			err = l.cross(arrives)
		}
		done <- result{at, err}
	}()
	select {
	case r := <-done:
		if r.err == nil {
			if e.Kind == coherence.Intent && l.w.chance(l.w.faults.faint) {
				l.w.count("faint")
				l.process.pause(l.w.between(hold, 2*hold))
			}
			if beforeAppend(e) == "before_done" && l.w.crashes(l.process, "after_done") {
				return r.at, errCrashed
			}
			if err := l.process.pass(); err != nil {
				return r.at, err
			}
		}
		return r.at, r.err
	case <-ctx.Done():
		return subjects.Revision{}, ctx.Err()
	}
}

// End implements coherence.Log.
func (l *link) End(ctx context.Context) (subjects.Revision, error) {
	if err := l.process.pass(); err != nil {
		return subjects.Revision{}, err
	}
	done := make(chan subjects.Revision, 1)
	arrives, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	go func() {
		defer cancel()
		if l.cross(arrives) != nil {
			return
		}
		j := l.w.journal
		j.mu.Lock()
		end, offline := j.endLocked(), j.offline
		j.mu.Unlock()
		if !offline && l.cross(arrives) == nil {
			done <- end
		}
	}()
	select {
	case end := <-done:
		return end, l.process.pass()
	case <-ctx.Done():
		return subjects.Revision{}, ctx.Err()
	}
}

// Acknowledge implements coherence.Log.
func (l *link) Acknowledge(from, to, write string) {
	go func() {
		arrives, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		other := l.w.linkOf(to)
		if l.process.pass() != nil || l.cross(arrives) != nil || other == nil || other.cross(arrives) != nil || other.process.pass() != nil {
			return
		}
		other.mu.Lock()
		f := other.follower
		other.mu.Unlock()
		if f != nil {
			f.Acknowledged(from, write)
		}
	}()
}

// Follow implements coherence.Log. A cut link delivers nothing, and returns only when the
// process notices that.
func (l *link) Follow(ctx context.Context, _ string, from subjects.Revision, window time.Duration, f coherence.Follower) error {
	w, j := l.w, l.w.journal
	if err := l.process.pass(); err != nil {
		<-ctx.Done()
		return err
	}
	opening, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := l.cross(opening); err != nil {
		return err
	}
	j.mu.Lock()
	if j.offline {
		j.mu.Unlock()
		return errors.New("the stream is not there")
	}
	end, resets := j.endLocked(), j.resets
	next := end.Seq + 1
	if from.Stream == end.Stream && from.Seq > 0 && from.Seq <= end.Seq {
		next = from.Seq + 1
	} else {
		for next > j.first && time.Since(j.entries[next-1-j.first].at) <= window {
			next--
		}
	}
	age := coherence.Forever
	if !j.born.IsZero() {
		age = time.Since(j.born)
	}
	if j.first > 1 && len(j.entries) > 0 {
		age = min(age, time.Since(j.entries[0].at))
	}
	j.mu.Unlock()
	l.mu.Lock()
	l.follower = f
	l.mu.Unlock()
	f.Open(end, age)
	time.Sleep(w.delay()) // for the request of the first entries
	var silent time.Time  // since when nothing can come
	for ctx.Err() == nil {
		if err := l.process.pass(); err != nil {
			<-ctx.Done()
			return err
		}
		l.mu.Lock()
		up, changed := l.up, l.changed
		l.mu.Unlock()
		j.mu.Lock()
		grown, reset := j.grown, j.resets != resets
		var entry *journalEntry
		if !reset && up && next <= j.endLocked().Seq {
			next = max(next, j.first)
			copied := j.entries[next-j.first]
			entry = &copied
		}
		j.mu.Unlock()
		if entry != nil {
			silent = time.Time{}
			l.deliver(f, subjects.Revision{Stream: end.Stream, Seq: next}, entry)
			next++
			continue
		}
		if up && !reset {
			silent = time.Time{}
		} else if silent.IsZero() {
			silent = time.Now()
		}
		var notices <-chan time.Time
		var timer *time.Timer
		if !silent.IsZero() {
			wait := w.faults.notice - time.Since(silent)
			if wait <= 0 {
				return errors.New("nothing comes")
			}
			timer = time.NewTimer(wait)
			notices = timer.C
		}
		select {
		case <-grown:
		case <-changed:
		case <-notices:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
	}
	return ctx.Err()
}

// deliver delivers an entry, after a while, perhaps twice or never.
func (l *link) deliver(f coherence.Follower, at subjects.Revision, e *journalEntry) {
	w := l.w
	if late := e.at.Add(w.delay()); time.Now().Before(late) {
		time.Sleep(time.Until(late))
	}
	if l.process.pass() != nil {
		return
	}
	if w.chance(w.faults.skip) {
		w.count("skipped")
		return
	}
	copied := *e.event
	f.Deliver(at, &copied)
	w.delivered(l.process, e)
	if w.chance(w.faults.repeat) {
		w.count("repeated")
		f.Deliver(at, &copied)
	}
}
