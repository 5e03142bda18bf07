// Package lifecycle gives everything that runs in the background one contract.
//
// A type with goroutines or connections of its own begins with New, Open or
// Start(ctx), and ends with Close(ctx). A type that works in the goroutine of
// its caller has Run(ctx). Run returns soon after ctx ends, once everything
// that it began has ended too.
//
//   - Close waits until everything has ended, but not longer than its context.
//     Work that it did not wait for continues until it ends.
//   - Close may be called again, before Start, during Start, and by several goroutines. Each
//     call waits, and has the same result.
//   - Start works once, and not after Close.
//   - Two calls of Run take turns.
//
// [Part], [Turn] and [Group] implement this for a type. A type with nothing to
// wait for, such as a cache, has a Close without context.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Errors of Part.Start.
var (
	ErrStarted = errors.New("was started before")
	ErrClosed  = errors.New("is closed")
)

// Part starts and ends once. The zero Part has done neither.
type Part struct {
	turn Turn // held during start and end

	mu          sync.Mutex
	started     bool
	cancelStart context.CancelFunc // of the Start in progress, or nil
	ended       chan struct{}      // nil before Close
	err         error              // once ended is closed
}

// Start calls start. The context of start ends when ctx ends or Close is
// called.
func (p *Part) Start(ctx context.Context, start func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	switch {
	case p.started:
		p.mu.Unlock()
		return ErrStarted
	case p.ended != nil:
		p.mu.Unlock()
		return ErrClosed
	}
	p.started, p.cancelStart = true, cancel
	turn := p.turn.token()
	<-turn // nobody holds the turn; end waits for it
	p.mu.Unlock()
	defer func() { turn <- struct{}{} }()
	return start(ctx)
}

// Close calls end, unless an earlier call did, and waits until it has returned.
// Each call returns the result of end. If ctx ends first, Close returns the
// error of ctx, and end goes on.
//
// end never runs during a Start. It gets the context of the first call, and
// must return soon after that context ends.
func (p *Part) Close(ctx context.Context, end func(context.Context) error) error {
	p.mu.Lock()
	if p.ended == nil {
		p.ended = make(chan struct{})
		if p.cancelStart != nil {
			p.cancelStart()
		}
		go func() {
			defer close(p.ended)
			p.turn.Do(context.WithoutCancel(ctx), func() { p.err = end(ctx) })
		}()
	}
	p.mu.Unlock()
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
	}
	select {
	case <-p.ended: // at the same time
		return p.err
	default:
		return fmt.Errorf("work was still running when the time to stop ran out: %w", ctx.Err())
	}
}

// Turn lets one goroutine run at a time. The zero Turn is free.
type Turn struct {
	mu   sync.Mutex
	free chan struct{} // holds a token while no call runs
}

// Do calls run once no other call is running. If ctx ends first, it does not
// call run.
func (t *Turn) Do(ctx context.Context, run func()) {
	free := t.token()
	if ctx.Err() != nil {
		return
	}
	select {
	case <-free:
	case <-ctx.Done():
		return
	}
	defer func() { free <- struct{}{} }()
	run()
}

func (t *Turn) token() chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == nil {
		t.free = make(chan struct{}, 1)
		t.free <- struct{}{}
	}
	return t.free
}

// Group is a set of goroutines that run until Stop. The zero Group has none.
type Group struct {
	mu      sync.Mutex
	ctx     context.Context // nil before the first Go
	cancel  context.CancelFunc
	stopped bool
	running sync.WaitGroup
}

// Go calls run in a goroutine. Its context ends with Stop. After Stop, Go does
// nothing.
func (g *Group) Go(run func(context.Context)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return
	}
	if g.ctx == nil {
		g.ctx, g.cancel = context.WithCancel(context.Background())
	}
	g.running.Go(func() { run(g.ctx) })
}

// Stop ends the context of all goroutines, and waits for them.
func (g *Group) Stop() {
	g.mu.Lock()
	g.stopped = true
	if g.cancel != nil {
		g.cancel()
	}
	g.mu.Unlock()
	g.running.Wait()
}
