package client

import (
	"context"
	"iter"
	"time"

	"credbus/subjects"
)

// ListOptions select what List returns. All filters that are set must match.
type ListOptions struct {
	Tags          map[string]string // each of these tags, with this value
	IDPrefix      string
	ExpiresBefore time.Time
	// PageSize is how many credentials one request asks for, 1 to 1,000; zero
	// for 100.
	PageSize int
}

// List walks over the credentials of a scope and of all scopes below it,
// without their values, in the order of the store behind the worker. A
// credential that cannot be read has its Damaged set. Pages are fetched as the
// loop goes on, so a scope of any size takes little memory. If the scope changes
// meanwhile, the result is not a snapshot.
//
// An error ends the walk. A nil opts is the zero ListOptions.
func (c *Client) List(ctx context.Context, scope Scope, opts *ListOptions) iter.Seq2[*Credential, error] {
	var options ListOptions
	if opts != nil {
		options = *opts
	}
	return func(yield func(*Credential, error) bool) {
		request := subjects.ListRequest{
			Filter: subjects.Filter{Tags: options.Tags, IDPrefix: options.IDPrefix, ExpiresBefore: options.ExpiresBefore},
			Paging: subjects.Paging{Limit: options.PageSize},
		}
		for more := true; more; {
			reply, err := c.list(ctx, scope, &request)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range reply.Items {
				if !yield(&Credential{item}, nil) {
					return
				}
			}
			request.Cursor = reply.Cursor
			more = reply.Cursor != ""
		}
	}
}

// list fetches one page.
func (c *Client) list(ctx context.Context, scope Scope, request *subjects.ListRequest) (*subjects.ListReply, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	var reply subjects.ListReply
	return &reply, c.exchange(ctx, call{
		command: subjects.List, scope: scope,
		request: request, reply: &reply, revision: &reply.Revision,
		// With the same cursor again, the walk would never end.
		fits: func() bool { return reply.Cursor == "" || reply.Cursor != request.Cursor },
	})
}

// Describe returns one credential as List shows it, without its values, or ErrNotFound.
// One that cannot be read is not an error: its Damaged is set.
func (c *Client) Describe(ctx context.Context, scope Scope, id ID) (*Credential, error) {
	if err := checkTarget(scope, id); err != nil {
		return nil, err
	}
	request := subjects.DescribeRequest{Target: Target{ID: id}}
	var reply subjects.DescribeReply
	err := c.exchange(ctx, call{
		command: subjects.Describe, scope: scope,
		request: &request, reply: &reply, revision: &reply.Revision,
		fits: func() bool { return reply.Scope == scope && reply.ID == id },
	})
	if err != nil {
		return nil, err
	}
	return &Credential{reply.Credential}, nil
}
