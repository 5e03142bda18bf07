package client

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// subscription receives the messages of a subject until its context ends.
type subscription struct {
	c        *Client
	ctx      context.Context
	subject  string
	sub      *nats.Subscription
	messages chan *nats.Msg
	statuses chan nats.Status // of the connection
	dropped  int              // how many of those that sub has dropped were reported
}

// listen subscribes, and returns once the server has the subscription or refused
// it. It ends with stop, which the caller must call, with ctx, or as a waiter does.
func (c *Client) listen(ctx context.Context, subject string, buffer int) (stop func(), s *subscription, err error) {
	ctx, stop, err = c.watch(ctx, &waiter{subject: subject})
	if err != nil {
		return nil, nil, err
	}
	s = &subscription{
		c: c, ctx: ctx, subject: subject,
		messages: make(chan *nats.Msg, buffer),
		statuses: c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED),
	}
	if err := s.subscribe(); err != nil {
		stop()
		s.close()
		return nil, nil, err
	}
	// This ends a subscription that nobody reads, too.
	context.AfterFunc(ctx, func() {
		stop()
		s.close()
	})
	return stop, s, nil
}

func (s *subscription) subscribe() error {
	nc := s.c.nc
	if !nc.IsConnected() {
		return s.c.disconnected()
	}
	before := nc.LastError()
	var err error
	if s.sub, err = nc.ChanSubscribe(s.subject, s.messages); err != nil {
		return fmt.Errorf("subscribe to %s: %w", s.subject, err)
	}
	ctx, cancel := s.c.withTimeout(s.ctx)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil {
		if ctx.Err() != nil {
			return ended(ctx, s.subject)
		}
		return fmt.Errorf("%w: subscribe to %s: %w", ErrDisconnected, s.subject, err)
	}
	if after := nc.LastError(); after != before {
		if subject, ok := refusedSubject(after); ok && subject == s.subject {
			return denied(subject)
		}
	}
	return nil
}

func (s *subscription) close() {
	if s.sub != nil {
		_ = s.sub.Unsubscribe() // fails on a closed connection, which has no subscriptions
	}
	s.c.nc.RemoveStatusListener(s.statuses)
}

// hasDropped reports whether messages were dropped since its last call. They are dropped
// when the buffer is full, so one is received after each loss. It does not use nats.go's
// ErrSlowConsumer, which goes away unseen once a later message finds room.
func (s *subscription) hasDropped() bool {
	dropped, err := s.sub.Dropped()
	if err != nil || dropped <= s.dropped {
		return false
	}
	s.dropped = dropped
	return true
}

// interrupted is why the client ended the subscription, nil if the caller did.
func (s *subscription) interrupted() error {
	if own, ok := context.Cause(s.ctx).(interruption); ok {
		return own.reason
	}
	return nil
}

var errConnectionClosed = fmt.Errorf("%w: the connection was closed", ErrDisconnected)
