package client

import (
	"context"

	"credbus/subjects"
)

type (
	// ReplicaKeys are the keys that one worker replica holds.
	ReplicaKeys = subjects.ReplicaKeys
	// Keyrings are the keys of each replica, and the names of the Missing ones,
	// which did not answer in time.
	Keyrings = subjects.KeysReply
	// Resealed is the result of Reseal.
	Resealed = subjects.ResealReply
)

// Keys asks every replica which keys it holds. It is for operators: tenants have no
// permission for it.
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

// Reseal makes a worker go through a page of the credentials of a scope and below,
// and seal those with the primary key that are not. An empty cursor means the first
// page, that of the reply the next one. If some of this page remain, send the same
// cursor again. A limit of 0 means 100. It may be repeated at any time, and is for
// operators.
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
