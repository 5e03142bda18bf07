package jobs

import (
	"sync"
	"time"
)

// clock knows the time of the NATS servers, which is the same for all workers.
// Jobs begin and expire by it: a worker whose own clock is wrong must not begin
// a job early, nor treat it as expired.
type clock struct {
	local func() time.Time

	mu     sync.Mutex
	server time.Time // the time of a server,
	read   time.Time // and the local time when it was read
}

// set stores the time that a server has just sent. It lags by the time that the
// answer took, so nothing happens early.
func (c *clock) set(server time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.read = server, c.local()
}

// now returns the time, in whole milliseconds as in messages.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server.IsZero() {
		return c.local().UTC().Truncate(time.Millisecond)
	}
	return c.server.Add(c.local().Sub(c.read)).UTC().Truncate(time.Millisecond)
}
