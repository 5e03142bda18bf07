package client

import (
	"context"

	"credbus/subjects"
)

// Migrated is the result of Migrate.
type Migrated = subjects.MigrateReply

// MigrateOptions are options of Migrate.
type MigrateOptions struct {
	// Prune deletes from the second store the credentials that the first does not
	// have, instead of copying.
	Prune  bool
	Cursor string // empty: the first page
	Limit  int    // of a page; 0 is 100
}

// Migrate makes a worker copy a page of the credentials of a scope and below from
// one store of the workers to another. The names are those of their configuration.
// The cursor of the reply is that of the next page. If some of this page remain,
// send the same cursor again. It may be repeated at any time, and is for operators.
func (c *Client) Migrate(ctx context.Context, scope Scope, from, to string, options MigrateOptions) (*Migrated, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	var reply Migrated
	err := c.exchange(ctx, call{
		command: subjects.Migrate, scope: scope,
		request: &subjects.MigrateRequest{
			From: from, To: to, Prune: options.Prune,
			Paging: subjects.Paging{Cursor: options.Cursor, Limit: options.Limit},
		},
		reply: &reply, revision: &reply.Revision,
		fits: func() bool { return reply.Cursor == "" || reply.Cursor != options.Cursor },
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}
