package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// client keeps a window of requests under way: each reply sends the next
// request of its slot.
type client struct {
	nc    *nats.Conn
	slots []slot

	// Of the round that runs.
	asked   question
	stopped atomic.Bool
	open    atomic.Int64
	failed  atomic.Int64
	times   []time.Duration
	drained chan struct{}
}

type slot struct {
	reply string
	sent  time.Time
}

type round struct {
	requests int
	rate     float64 // replies per second
	p50, p99 time.Duration
}

// question is what a round asks, again and again.
type question struct {
	subject  string
	request  []byte
	replyLen int
}

func newClient(nc *nats.Conn, window int) (*client, error) {
	c := &client{nc: nc, slots: make([]slot, window), times: make([]time.Duration, 0, 4<<20)}
	inbox := nats.NewInbox() + "."
	for i := range c.slots {
		c.slots[i].reply = inbox + strconv.Itoa(i)
	}
	_, err := nc.Subscribe(inbox+"*", func(msg *nats.Msg) {
		i, err := strconv.Atoi(msg.Subject[len(inbox):])
		if err != nil || len(msg.Data) != c.asked.replyLen || len(msg.Header) > 0 {
			c.failed.Add(1)
		}
		c.times = append(c.times, time.Since(c.slots[i].sent))
		c.send(i)
	})
	if err != nil {
		return nil, err
	}
	return c, nc.Flush()
}

// send is called by the subscription's goroutine, but for the first of a slot.
func (c *client) send(i int) {
	if c.stopped.Load() {
		if c.open.Add(-1) == 0 {
			close(c.drained)
		}
		return
	}
	c.slots[i].sent = time.Now()
	if err := c.nc.PublishRequest(c.asked.subject, c.slots[i].reply, c.asked.request); err != nil {
		c.failed.Add(1)
	}
}

// run asks for d.
func (c *client) run(ctx context.Context, asked question, d time.Duration) (round, error) {
	// A replica that nobody asked for a round takes a moment for its lease:
	// that is no part of what a hit costs.
	if _, err := c.nc.RequestWithContext(ctx, asked.subject, asked.request); err != nil {
		return round{}, fmt.Errorf("%s: %w", asked.subject, err)
	}
	c.asked = asked
	c.times, c.drained = c.times[:0], make(chan struct{})
	c.stopped.Store(false)
	c.open.Store(int64(len(c.slots)))
	begun := time.Now()
	for i := range c.slots {
		c.send(i)
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return round{}, ctx.Err()
	}
	c.stopped.Store(true)
	select {
	case <-c.drained:
	case <-time.After(5 * time.Second):
		return round{}, fmt.Errorf("%s: %d requests were never answered", asked.subject, c.open.Load())
	}
	took := time.Since(begun)
	if n := c.failed.Load(); n > 0 {
		return round{}, fmt.Errorf("%s: %d replies were not what was expected", asked.subject, n)
	}
	slices.Sort(c.times)
	n := len(c.times)
	return round{
		requests: n,
		rate:     float64(n) / took.Seconds(),
		p50:      c.times[n/2].Round(time.Microsecond),
		p99:      c.times[n*99/100].Round(time.Microsecond),
	}, nil
}
