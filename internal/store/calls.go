package store

import (
	"context"
	"sync"

	"credbus/internal/lifecycle"
)

// Calls counts the running calls of a driver, so that Close can wait for them.
type Calls struct {
	stopping context.Context // ends when Close begins
	stop     context.CancelFunc
	mu       sync.Mutex
	closed   bool
	underWay sync.WaitGroup // grows only while closed is false
	life     lifecycle.Part
}

// NewCalls returns Calls that admit calls until Close.
func NewCalls() *Calls {
	c := new(Calls)
	c.stopping, c.stop = context.WithCancel(context.Background())
	return c
}

// Begin admits a call. If err is nil, the caller must end it with end. The
// returned context also ends with Close, with the cause ErrClosed. Work that
// Close must not interrupt, such as a sent write, must use parent.
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

// Go runs f like a call. The context of f ends with Close. Go is for a driver
// that is not open yet.
func (c *Calls) Go(f func(ctx context.Context)) {
	c.underWay.Go(func() { f(c.stopping) })
}

// Close refuses further calls with ErrClosed. When the running calls have
// ended, it calls free, once. It waits for that until ctx ends.
func (c *Calls) Close(ctx context.Context, free func()) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	return c.life.Close(ctx, func(context.Context) error {
		c.underWay.Wait()
		free()
		return nil
	})
}
