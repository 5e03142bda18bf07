package client

import (
	"context"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// Event says that a credential was changed, never what its values are.
type Event = subjects.Event

// EventGap is the kind of an event that the client itself puts in where events
// were, or may have been, lost: after a reconnect, when the loop that reads
// them is too slow, and for one that cannot be read. Its Scope is the one that
// is followed and nothing else is set. Read anew what matters.
const EventGap subjects.EventKind = "gap"

// The kinds of events that workers send.
const (
	EventStored  = subjects.EventStored
	EventDeleted = subjects.EventDeleted
)

// eventBuffer is how many events may wait for the loop that reads them.
const eventBuffer = 4096

// Events follows the changes of a scope and of all scopes below it; the root
// scope follows all. It begins before Events returns: no later change is
// missed without an EventGap.
//
//	events, err := c.Events(ctx, "org:acme")
//	for event, err := range events { ... }
//
// The loop ends, quietly, when ctx does, and with an error when the client
// closes, the connection is closed, or NATS refuses the subject. It can be run
// once; leaving it unsubscribes, as does the end of ctx.
//
// Events come at most once, and what is lost between the servers of a NATS
// cluster is not noticed here: they are a prompt to read again, not a log.
func (c *Client) Events(ctx context.Context, scope Scope) (iter.Seq2[Event, error], error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	subject := c.prefix.Events(scope)
	ctx, stop, err := c.watch(ctx, subject, false)
	if err != nil {
		return nil, err
	}
	s := &eventStream{
		c: c, ctx: ctx, scope: scope, subject: subject,
		messages: make(chan *nats.Msg, eventBuffer),
		statuses: c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED),
	}
	if err := s.subscribe(); err != nil {
		stop()
		s.close()
		return nil, err
	}
	// Also for a stream that nobody reads.
	context.AfterFunc(ctx, func() {
		stop()
		s.close()
	})
	return func(yield func(Event, error) bool) {
		defer stop()
		s.run(yield)
	}, nil
}

type eventStream struct {
	c        *Client
	ctx      context.Context
	scope    Scope
	subject  string
	sub      *nats.Subscription
	messages chan *nats.Msg
	statuses chan nats.Status
	dropped  int // of those that sub has dropped, how many are told of
}

// subscribe returns once the server has the subscription or refused it.
func (s *eventStream) subscribe() error {
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

func (s *eventStream) close() {
	if s.sub != nil {
		_ = s.sub.Unsubscribe() // fails on a closed connection, which is as good
	}
	s.c.nc.RemoveStatusListener(s.statuses)
}

func (s *eventStream) run(yield func(Event, error) bool) {
	for s.ctx.Err() == nil {
		select {
		case <-s.ctx.Done():
		case msg := <-s.messages:
			// Messages are dropped when the buffer is full, so one is received
			// after each loss. nats.go's ErrSlowConsumer is not used: it goes
			// away unseen once a later message finds room.
			if dropped, err := s.sub.Dropped(); err == nil && dropped > s.dropped {
				s.dropped = dropped
				if !yield(s.gap(), nil) {
					return
				}
			}
			if !yield(s.decode(msg), nil) {
				return
			}
		case <-s.statuses:
			if s.ctx.Err() != nil {
				break
			}
			if s.c.nc.IsClosed() {
				yield(Event{}, fmt.Errorf("%w: the connection was closed", ErrDisconnected))
				return
			}
			// nats.go subscribes again before it sends anything else, so what
			// is read because of this gap is read under the subscription.
			if !yield(s.gap(), nil) {
				return
			}
		}
	}
	if own, ok := context.Cause(s.ctx).(interruption); ok {
		yield(Event{}, own.reason)
	}
}

func (s *eventStream) gap() Event {
	return Event{Kind: EventGap, Target: Target{Scope: s.scope}}
}

// decode reads an event, and lets the client's revision follow it.
func (s *eventStream) decode(msg *nats.Msg) Event {
	var event Event
	if err := subjects.Decode(msg.Data, &event); err != nil || event.Kind == "" {
		return s.gap()
	}
	if scope, id, err := s.c.prefix.ParseEvent(msg.Subject); err != nil || (Target{Scope: scope, ID: id}) != event.Target {
		return s.gap()
	}
	s.c.Observe(event.Revision)
	return event
}
