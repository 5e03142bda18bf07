package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// stalled is a connection whose other end stops reading.
type stalled struct {
	net.Conn
	stop   *atomic.Bool
	closed chan struct{}
}

func (s stalled) Read(p []byte) (int, error) {
	if s.stop.Load() {
		<-s.closed
	}
	return s.Conn.Read(p)
}

func (s stalled) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	s.Conn = conn
	return s, err
}

// measureSlow makes clients ask for the largest replies and read none of them. The
// server buffers these replies, here in the memory of the worker itself.
func measureSlow(ctx context.Context, o options) error {
	p, err := start(ctx, o, nil)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.store(ctx, 1, func(int) subjects.StoreItem {
		return subjects.StoreItem{Target: subjects.Target{ID: large}, Data: value(maxValue)}
	}); err != nil {
		return err
	}
	idle := p.settle()
	clients := max(o.requests/slowShare, 1)
	closed := make(chan struct{})
	defer close(closed)
	worst := worsts()[3] // retrieve_batch
	for range clients {
		var stop atomic.Bool
		nc, err := p.connect(nats.NoReconnect(), nats.SetCustomDialer(stalled{stop: &stop, closed: closed}))
		if err != nil {
			return err
		}
		defer nc.Close()
		inbox := nats.NewInbox()
		if _, err := nc.SubscribeSync(inbox); err != nil {
			return err
		}
		if err := nc.Flush(); err != nil {
			return err
		}
		stop.Store(true) // after the read that waits now
		for range 2 * slowShare {
			if err := nc.PublishRequest(subjects.DefaultPrefix.Command(worst.command, scope), inbox, worst.body(0)); err != nil {
				return err
			}
		}
	}
	// This batch is the last in the queue: once it is answered, so are the others.
	begun := time.Now()
	if err := p.must(ctx, worst.command, worst.body(0)); err != nil {
		return err
	}
	peak := p.most.Load()
	fmt.Printf("slow clients=%d requests=%d took=%s rss_idle=%dMiB rss_peak=%dMiB\n", clients, clients*2*slowShare, time.Since(begun).Round(time.Millisecond), idle/mib, peak/mib)
	if peak-idle > worstLimit {
		return fmt.Errorf("slow clients: %d MiB above idle, %d are allowed", (peak-idle)/mib, int64(worstLimit)/mib)
	}
	return nil
}

// slowShare is how many of -requests there are for each slow client, which sends twice as many.
const slowShare = 32
