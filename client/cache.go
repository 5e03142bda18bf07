package client

import (
	"context"

	"credbus/subjects"
)

type (
	// ClearedCache names the worker replicas that dropped their entries, and
	// the Missing ones, which did not confirm that in time: they may be gone, or
	// still serve old entries.
	ClearedCache = subjects.ClearCacheReply
	// CacheStats say how much of a scope each replica has cached, and name the
	// Missing ones, which did not answer in time.
	CacheStats = subjects.CacheStatsReply
	// Statistics are the statistics of each replica, and the names of the Missing
	// ones, which did not answer in time.
	Statistics = subjects.AdminCacheStatsReply
)

// ClearCache makes every replica drop what it has cached of one credential or,
// with an empty id, of a scope and all scopes below it. Writes through workers
// need no clearing: use it after somebody changed a store without them.
func (c *Client) ClearCache(ctx context.Context, scope Scope, id ID) (*ClearedCache, error) {
	check := checkScope(scope)
	if id != "" {
		check = checkTarget(scope, id)
	}
	if check != nil {
		return nil, check
	}
	var reply ClearedCache
	err := c.exchange(ctx, call{
		command: subjects.ClearCache, scope: scope,
		request: &subjects.ClearCacheRequest{Target: Target{ID: id}},
		reply:   &reply, revision: &reply.Revision,
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// CacheStats asks every replica what it has cached of a scope and all scopes below
// it. If a replica is dead, the reply takes up to 2 s.
func (c *Client) CacheStats(ctx context.Context, scope Scope) (*CacheStats, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	var reply CacheStats
	err := c.exchange(ctx, call{
		command: subjects.CacheStats, scope: scope,
		request: &subjects.CacheStatsRequest{},
		reply:   &reply, revision: &reply.Revision,
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Statistics asks every replica for the statistics of its cache, and the state of its
// stores. It is for operators: tenants have no permission for it.
func (c *Client) Statistics(ctx context.Context) (*Statistics, error) {
	var reply Statistics
	err := c.exchange(ctx, call{
		command: subjects.AdminCacheStats, scope: subjects.Root,
		request: &subjects.AdminCacheStatsRequest{},
		reply:   &reply, revision: &reply.Revision,
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}
