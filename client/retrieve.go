package client

import (
	"context"

	"credbus/subjects"
)

// RetrieveOptions say where a credential may come from.
type RetrieveOptions struct {
	// Inherit also accepts the nearest ancestor scope's credential of that ID
	// that is Inheritable. The Scope of the result says where it was found.
	Inherit bool
	// Fresh reads from the store, past every cache.
	Fresh bool
}

// Retrieve returns one credential, or ErrNotFound. A nil opts is the zero
// RetrieveOptions. Call Wipe on the credential after its last use.
func (c *Client) Retrieve(ctx context.Context, scope Scope, id ID, opts *RetrieveOptions) (*Credential, error) {
	item := RetrieveItem{ID: id}
	if opts != nil {
		item.RetrieveOptions = *opts
	}
	if err := checkTarget(scope, id); err != nil {
		return nil, err
	}
	reply, err := c.retrieve(ctx, scope, item.wire())
	if err != nil {
		return nil, err
	}
	return &Credential{reply.Credential}, nil
}

// retrieve asks at scope for an item of that scope or one below it.
func (c *Client) retrieve(ctx context.Context, scope Scope, item subjects.RetrieveItem) (*subjects.RetrieveReply, error) {
	request := subjects.RetrieveRequest{RetrieveItem: item}
	var reply subjects.RetrieveReply
	err := c.exchange(ctx, call{
		command: subjects.Retrieve, scope: scope,
		request: &request, reply: &reply, revision: &reply.Revision,
		fits: func() bool { return retrieved(scope, &item, &reply) },
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// retrieved reports whether reply is the credential that item asked for.
func retrieved(scope Scope, item *subjects.RetrieveItem, reply *subjects.RetrieveReply) bool {
	asked := within(scope, item.Scope)
	found := reply.Scope == asked || item.Inherit && reply.Scope.Contains(asked)
	return found && reply.ID == item.ID && len(reply.Data) > 0
}

// within is the scope of an item of a command at scope.
func within(scope, item Scope) Scope {
	if item == subjects.Root {
		return scope
	}
	return item
}
