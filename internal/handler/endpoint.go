package handler

import (
	"context"

	"credbus/internal/manager"
	"credbus/subjects"
)

// endpoint is how one command is served.
type endpoint struct {
	command subjects.Command
	cost    cost
	// ofJobs is set for the commands about jobs. off is the error if this worker does not
	// serve the command, nil if it does.
	ofJobs bool
	off    error
	// ofItems is set for batches, whose items are counted under the limits one by one.
	ofItems bool

	// request returns an empty request of the command. run carries out a request that was
	// decoded and placed, and returns the open reply.
	request func() subjects.PlacedRequest
	run     func(context.Context, *call, subjects.PlacedRequest) ([]byte, subjects.Revision, error)

	stats endpointStats
}

// request is a pointer to a request of the contract.
type request[T any] interface {
	*T
	subjects.PlacedRequest
}

func newEndpoint[T any, P request[T]](cost cost, run func(context.Context, *call, P) ([]byte, subjects.Revision, error)) *endpoint {
	return &endpoint{
		cost:    cost,
		request: func() subjects.PlacedRequest { return P(new(T)) },
		run: func(ctx context.Context, c *call, r subjects.PlacedRequest) ([]byte, subjects.Revision, error) {
			return run(ctx, c, r.(P)) // made by request above
		},
	}
}

// command serves a command that takes its request and returns its reply.
func command[T any, P request[T], R subjects.Reply](cost cost, run func(context.Context, P) (R, error)) *endpoint {
	return newEndpoint(cost, func(ctx context.Context, c *call, r P) ([]byte, subjects.Revision, error) {
		reply, err := run(ctx, r)
		return open(c, reply, err)
	})
}

// roomy serves a command whose reply may fill all the room that there is.
func roomy[T any, P request[T], R subjects.Reply](h *Handler, cost cost, run func(context.Context, P, subjects.Room) (R, error)) *endpoint {
	return newEndpoint(cost, func(ctx context.Context, c *call, r P) ([]byte, subjects.Revision, error) {
		reply, err := run(ctx, r, h.room(c))
		return open(c, reply, err)
	})
}

// batch serves a command on many items. Each item is placed by itself: one without a scope
// is in that of the batch, others may be anywhere in that of the subject.
func batch[T any, P request[T], R subjects.Reply](h *Handler, run func(context.Context, P, manager.Resolve, subjects.Room) (R, error)) *endpoint {
	e := newEndpoint(many, func(ctx context.Context, c *call, r P) ([]byte, subjects.Revision, error) {
		resolve, err := manager.ResolveWithin(c.scope, subjects.PlaceOf(r).Scope)
		if err != nil {
			return nil, subjects.Revision{}, err
		}
		reply, err := run(ctx, r, h.beginning(c, resolve), h.room(c))
		return open(c, reply, err)
	})
	e.ofItems = true
	return e
}

// open encodes a reply without its revision, and wipes the values in it.
func open[R subjects.Reply](c *call, reply R, err error) ([]byte, subjects.Revision, error) {
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	if values, ok := any(reply).(interface{ Wipe() }); ok {
		defer values.Wipe()
	}
	c.list.leave(reply)
	if c.records {
		c.told = subjects.SummariesOf(reply)
	}
	return subjects.AppendOpen(nil, reply), subjects.RevisionOf(reply), nil
}

// room is how many bytes the reply to a call may take, and how they are counted.
func (h *Handler) room(c *call) subjects.Room {
	limit := h.replyLimit(c.opened.Sealed())
	if c.list != nil {
		limit -= digestLen // of the cursor
	}
	return subjects.Room{Limit: limit, Size: c.size}
}

// size is how many bytes of a reply a piece of msgpack takes.
func (c *call) size(msgpack []byte) int {
	if !c.json {
		return len(msgpack)
	}
	text, err := subjects.ToJSON(msgpack)
	if err != nil {
		return len(msgpack)
	}
	defer clear(text)
	return len(text) + len(",")
}
