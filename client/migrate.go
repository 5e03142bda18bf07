package client

import (
	"context"

	"credbus/subjects"
)

// Migrated says what became of a page of credentials.
type Migrated = subjects.MigrateReply

// MigrateOptions are those of Migrate.
type MigrateOptions struct {
	// Prune deletes from the store that is copied to what the other does not have,
	// in place of copying.
	Prune  bool
	Cursor string // empty: the first page
	Limit  int    // of a page; 0 is 100
}

// Migrate has a page of the credentials of a scope and below copied from one of
// the workers' stores to another, by the names that their configuration gives
// them. The cursor of the reply is that of the next page, unless some of this one
// remain: then the same cursor is to be sent again. It may be repeated at any
// time, and is for who runs the workers.
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
