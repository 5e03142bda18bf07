package jobs

import (
	"sync"
	"time"
)

// clock tells the time of the NATS servers. Jobs are judged by it, since it is the same
// for everybody: a worker whose own clock is wrong must not begin a job early, nor take
// one for expired.
type clock struct {
	local func() time.Time

	mu     sync.Mutex
	server time.Time // what a server said,
	read   time.Time // and the local time then
}

// set takes over the time that a server has just told. It is behind by as long as the
// answer took, so nothing happens early.
func (c *clock) set(server time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.read = server, c.local()
}

// now is the time, in milliseconds as it travels.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server.IsZero() {
		return c.local().UTC().Truncate(time.Millisecond)
	}
	return c.server.Add(c.local().Sub(c.read)).UTC().Truncate(time.Millisecond)
}
