package client

import (
	"context"
	"iter"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// Event reports that a credential was changed, or expires. It never holds values.
type Event = subjects.Event

// EventGap is the kind of an event that the client itself inserts if events were
// lost, or may have been: after a reconnect, if the loop that reads them is too
// slow, and for an event that does not decode. Only its Scope is set, to the
// followed one. Read the credentials again that matter to you.
const EventGap subjects.EventKind = "gap"

// The kinds of events that workers send.
const (
	EventStored   = subjects.EventStored
	EventDeleted  = subjects.EventDeleted
	EventExpiring = subjects.EventExpiring
	EventExpired  = subjects.EventExpired
)

// eventBuffer is how many events may wait for the loop that reads them.
const eventBuffer = 4096

// Events follows the changes of a scope and of all scopes below it; the root
// scope follows all. It is subscribed when it returns: no later change is
// missed without an EventGap.
//
//	events, err := c.Events(ctx, "org:acme")
//	for event, err := range events { ... }
//
// The loop ends without an error when ctx ends, and with one when the client
// closes, the connection is closed, or NATS refuses the subject. It can be run
// once; leaving it unsubscribes, as does the end of ctx.
//
// Events come at most once, and the client does not notice those that are lost
// between the servers of a NATS cluster: they are a prompt to read again, not a log.
//
// Nothing proves that a worker sent an event: any client that may publish on the subject
// can forge one. Therefore events do not raise Client.Revision, and a read that follows an
// event may be answered by a worker that has not applied the change yet. If only
// workers may publish there, pass the event's Revision to Observe before you read.
func (c *Client) Events(ctx context.Context, scope Scope) (iter.Seq2[Event, error], error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	stop, listening, err := c.listen(ctx, c.prefix.Events(scope), eventBuffer)
	if err != nil {
		return nil, err
	}
	s := &eventStream{listening, scope}
	return func(yield func(Event, error) bool) {
		defer stop()
		s.run(yield)
	}, nil
}

type eventStream struct {
	*subscription
	scope Scope
}

func (s *eventStream) run(yield func(Event, error) bool) {
	for s.ctx.Err() == nil {
		select {
		case <-s.ctx.Done():
		case msg := <-s.messages:
			if s.hasDropped() && !yield(s.gap(), nil) {
				return
			}
			if !yield(s.decode(msg), nil) {
				return
			}
		case <-s.statuses:
			if s.ctx.Err() != nil {
				break
			}
			if s.c.nc.IsClosed() {
				yield(Event{}, errConnectionClosed)
				return
			}
			// nats.go subscribes again before it sends anything else, so a
			// read after this gap comes after the new subscription.
			if !yield(s.gap(), nil) {
				return
			}
		}
	}
	if err := s.interrupted(); err != nil {
		yield(Event{}, err)
	}
}

func (s *eventStream) gap() Event {
	return Event{Kind: EventGap, Target: Target{Scope: s.scope}}
}

// decode reads an event. The client's revision stays as it is: a forged event could
// raise it beyond what any worker ever reaches, and every later read would carry that.
func (s *eventStream) decode(msg *nats.Msg) Event {
	var event Event
	if err := subjects.Decode(msg.Data, &event); err != nil || event.Kind == "" {
		return s.gap()
	}
	if scope, id, err := s.c.prefix.ParseEvent(msg.Subject); err != nil || (Target{Scope: scope, ID: id}) != event.Target {
		return s.gap()
	}
	return event
}
