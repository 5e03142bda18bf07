package client

import (
	"context"

	"credbus/subjects"
)

type (
	// ReplicaKeys are the keys that one worker replica holds.
	ReplicaKeys = subjects.ReplicaKeys
	// Keyrings are the keys of every replica that answered in time, and the
	// names of those Missing, which did not.
	Keyrings = subjects.KeysReply
	// Resealed says what became of a page of credentials.
	Resealed = subjects.ResealReply
)

// Keys asks every replica which keys it holds. It is for who runs the workers:
// tenants have no permission for it.
func (c *Client) Keys(ctx context.Context) (*Keyrings, error) {
	var reply Keyrings
	err := c.exchange(ctx, call{
		command: subjects.Keys, scope: subjects.Root,
		request: &subjects.KeysRequest{},
		reply:   &reply, revision: &reply.Revision,
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Reseal has a page of the credentials of a scope and below sealed by the primary
// key, those that are not. An empty cursor is the first page; that of the reply
// is the next one, unless some of this one remain: then the same cursor is to be
// sent again. A limit of 0 is 100. It may be repeated at any time, and is for who
// runs the workers.
func (c *Client) Reseal(ctx context.Context, scope Scope, cursor string, limit int) (*Resealed, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	var reply Resealed
	err := c.exchange(ctx, call{
		command: subjects.Reseal, scope: scope,
		request: &subjects.ResealRequest{Paging: subjects.Paging{Cursor: cursor, Limit: limit}},
		reply:   &reply, revision: &reply.Revision,
		fits: func() bool { return reply.Cursor == "" || reply.Cursor != cursor },
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}
