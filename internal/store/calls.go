package store

import (
	"context"
	"sync"
)

// Calls are those under way in a driver, which end before its Close returns.
type Calls struct {
	stopping context.Context // ends when Close begins
	stop     context.CancelFunc
	mu       sync.Mutex
	closed   bool
	underWay sync.WaitGroup // grows only while closed is false
}

// NewCalls admits calls until it is closed.
func NewCalls() *Calls {
	c := new(Calls)
	c.stopping, c.stop = context.WithCancel(context.Background())
	return c
}

// Begin admits a call. The caller ends it with end when err is nil. The context
// that it is given ends with Close as well, and its cause is ErrClosed then. What
// must not be given up by Close, such as a write that was sent, goes on with parent.
func (c *Calls) Begin(parent context.Context) (ctx context.Context, end func(), err error) {
	if err := parent.Err(); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	c.underWay.Add(1)
	ctx, cancel := context.WithCancelCause(parent)
	stop := context.AfterFunc(c.stopping, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		c.underWay.Done()
	}, nil
}

// Go runs f beside the calls, until it returns or, at the latest, its context ends
// with Close. It is for a driver that is not open yet.
func (c *Calls) Go(f func(ctx context.Context)) {
	c.underWay.Go(func() { f(c.stopping) })
}

// Close refuses further calls with ErrClosed, and waits for those under way. It
// may be called again; first tells whether it was not.
func (c *Calls) Close() (first bool) {
	c.mu.Lock()
	first = !c.closed
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.underWay.Wait()
	return first
}
