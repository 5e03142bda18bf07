package client

import (
	"context"
	"iter"
	"time"

	"credbus/subjects"
)

// AuditBlock is a block of the workers' audit log. docs/audit.md has its form.
type AuditBlock = subjects.AuditBlock

// Audit walks over the blocks of the audit log that the workers keep in a stream, the oldest
// first, without those that were stored before since. It ends with what is there when it begins.
// It is for operators: tenants have no permission for it.
//
// An error ends the walk.
func (c *Client) Audit(ctx context.Context, since time.Time) iter.Seq2[*AuditBlock, error] {
	return func(yield func(*AuditBlock, error) bool) {
		request := subjects.AuditRequest{Since: since, Paging: subjects.Paging{Limit: subjects.MaxListItems}}
		for more := true; more; {
			var reply subjects.AuditReply
			err := c.exchange(ctx, call{
				command: subjects.Audit, scope: subjects.Root,
				request: &request, reply: &reply, revision: &reply.Revision,
				// With the same cursor again, the walk would never end.
				fits: func() bool { return reply.Cursor == "" || reply.Cursor != request.Cursor },
			})
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range reply.Blocks {
				if !yield(&reply.Blocks[i], nil) {
					return
				}
			}
			request.Cursor = reply.Cursor
			more = reply.Cursor != ""
		}
	}
}
