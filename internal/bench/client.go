package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/wireseal"
)

// client keeps a window of requests under way: each reply sends the next
// request of its slot.
type client struct {
	nc    *nats.Conn
	slots []slot

	// State of the current round.
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
	body  []byte // of a sealed request
	nonce wireseal.Nonce
}

type round struct {
	requests int
	rate     float64 // replies per second
	p50, p99 time.Duration
}

// question is the request that a round repeats.
type question struct {
	subject  string
	request  []byte
	replyLen int
	seal     *seal // nil in clear
}

// seal is what seals requests.
type seal struct {
	session *wireseal.Session
	ticket  []byte
	about   []byte
}

func newClient(nc *nats.Conn, window int) (*client, error) {
	c := &client{nc: nc, slots: make([]slot, window), times: make([]time.Duration, 0, 4<<20)}
	inbox := nats.NewInbox() + "."
	for i := range c.slots {
		c.slots[i].reply = inbox + strconv.Itoa(i)
	}
	_, err := nc.Subscribe(inbox+"*", func(msg *nats.Msg) {
		i, err := strconv.Atoi(msg.Subject[len(inbox):])
		reply := msg.Data
		if seal := c.asked.seal; seal != nil && err == nil {
			reply, _, err = seal.session.OpenReply(c.slots[i].nonce, reply)
		}
		if err != nil || len(reply) != c.asked.replyLen || len(msg.Header) > 0 {
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

// send runs on the subscription's goroutine, except for the first request of a slot.
func (c *client) send(i int) {
	if c.stopped.Load() {
		if c.open.Add(-1) == 0 {
			close(c.drained)
		}
		return
	}
	slot := &c.slots[i]
	slot.sent = time.Now()
	body := c.asked.request
	if seal := c.asked.seal; seal != nil {
		slot.body, slot.nonce = seal.session.SealRequest(slot.body[:0], seal.ticket, 0, seal.about, body)
		body = slot.body
	}
	if err := c.nc.PublishRequest(c.asked.subject, slot.reply, body); err != nil {
		c.failed.Add(1)
	}
}

// run repeats the question for the duration d.
func (c *client) run(ctx context.Context, asked question, d time.Duration) (round, error) {
	// A replica that was idle for a round needs a moment to renew its lease.
	// The cost of a hit does not include that.
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
		return round{}, fmt.Errorf("%s: %d replies were not the expected ones", asked.subject, n)
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
