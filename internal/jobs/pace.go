package jobs

import (
	"context"
	"sync"
	"time"
)

// pace has jobs give way to requests. While none come in, items are carried out as
// many at a time as they may be. Otherwise it is one at a time in the whole worker,
// which then rests, so that jobs have no more than their share of the time: two
// dozen writes at once keep a request waiting for the processor, and for threads
// that wait for the disk, many times longer than it takes.
type pace struct {
	served func() int64 // requests, so far
	share  int          // percent
	turn   chan struct{}

	mu        sync.Mutex
	seen      int64
	looked    time.Time
	busyUntil time.Time
}

// lull is how long no request may have come in for jobs to have the worker to
// themselves.
const lull = 200 * time.Millisecond

// look is how often that is looked at.
const look = lull / 4

// absence is how long nobody has looked when what was answered meanwhile says nothing
// of whether requests come in now.
const absence = 5 * lull

func newPace(served func() int64, share int) *pace {
	return &pace{served: served, share: share, turn: make(chan struct{}, 1)}
}

// busy reports whether requests come in.
func (p *pace) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	served := p.served()
	if served != p.seen && now.Sub(p.looked) < absence {
		p.busyUntil = now.Add(lull)
	}
	p.seen, p.looked = served, now
	return now.Before(p.busyUntil)
}

// run does something when it is its turn, unless stop ends before that. Whether
// requests still come in is looked at every now and then.
func (p *pace) run(stop context.Context, do func()) {
	for p.share < 100 && p.busy() {
		select {
		case p.turn <- struct{}{}:
			p.inTurn(stop, do)
			return
		case <-time.After(look):
		case <-stop.Done():
			return
		}
	}
	if stop.Err() == nil {
		do()
	}
}

// inTurn does something, and rests for as long as the share demands.
func (p *pace) inTurn(stop context.Context, do func()) {
	defer func() { <-p.turn }()
	if stop.Err() != nil {
		return
	}
	begun := time.Now()
	do()
	const most = time.Second // so that one slow item does not hold up all others
	rest := min(most, time.Since(begun)*time.Duration(100-p.share)/time.Duration(p.share))
	for ; rest > 0 && p.busy(); rest -= look {
		select {
		case <-time.After(min(rest, look)):
		case <-stop.Done():
			return
		}
	}
}
