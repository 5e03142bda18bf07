package jobs

import (
	"context"
	"sync"
	"time"
)

// pace makes jobs give way to requests. Without requests, as many items run at
// a time as the settings allow. Otherwise the whole worker runs one item at a
// time and rests after each, so that jobs take no more than their share of the
// time. Two dozen writes at once would delay a request to many times its
// duration, since it waits for the processor and for threads that wait for the
// disk.
type pace struct {
	served func() int64 // requests, so far
	share  int          // percent
	turn   chan struct{}

	mu        sync.Mutex
	seen      int64
	looked    time.Time
	busyUntil time.Time
}

// lull is the time without a request after which jobs have the worker to
// themselves.
const lull = 200 * time.Millisecond

// look is how often pace checks for requests.
const look = lull / 4

// absence is a time without a check after which the number of answered requests
// does not show whether requests arrive now.
const absence = 5 * lull

func newPace(served func() int64, share int) *pace {
	return &pace{served: served, share: share, turn: make(chan struct{}, 1)}
}

// busy reports whether requests arrive.
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

// run calls do when it is its turn, unless stop ends before that. While it
// waits, it checks now and then whether requests still arrive.
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

// inTurn calls do, and then rests for as long as the share demands.
func (p *pace) inTurn(stop context.Context, do func()) {
	defer func() { <-p.turn }()
	if stop.Err() != nil {
		return
	}
	begun := time.Now()
	do()
	const most = time.Second // one slow item must not delay all others for longer
	rest := min(most, time.Since(begun)*time.Duration(100-p.share)/time.Duration(p.share))
	for ; rest > 0 && p.busy(); rest -= look {
		select {
		case <-time.After(min(rest, look)):
		case <-stop.Done():
			return
		}
	}
}
