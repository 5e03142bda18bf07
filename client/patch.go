package client

import (
	"context"
	"fmt"
	"time"

	"credbus/subjects"
)

// Patch is a change of a credential that exists. The credential keeps everything that it
// leaves out. A pointer to the zero value removes a field: new("") the description,
// new(time.Time) the expiry, new(0) the rotation policy.
type Patch struct {
	Data       Data     // the named values to set; neither kept nor wiped
	RemoveData []string // the names to remove; at least one named value must remain

	Tags          map[string]string // the tags to set
	RemoveTags    []string          // the keys of those to remove
	RemoveAllTags bool              // without Tags and RemoveTags

	Description  *string
	Expires      *time.Time
	RotationDays *int
	Inheritable  *bool

	// Version is the version to change, else the error is ErrVersionConflict. Without it the
	// worker changes the newest version, whatever that is, and keeps the changes that others
	// make meanwhile.
	Version string
	// RequestID is as in StoreOptions.
	RequestID string
}

// PatchItem is one credential of PatchBatch. RequestID must stay empty.
type PatchItem struct {
	Scope Scope // empty: the scope of the call
	ID    ID
	Patch
}

// Patched is the reply to a patch, Kept the part that it kept. Revision is zero in a batch.
type (
	Patched = subjects.PatchReply
	Kept    = subjects.Kept
)

// Patch changes a credential, and keeps what patch does not name. It never creates one: if
// there is none, the error is ErrNotFound. Other errors, beside the general ones, are
// ErrVersionConflict, which without a Version means that others wrote all the time, and
// OutcomeUnknownError.
func (c *Client) Patch(ctx context.Context, scope Scope, id ID, patch Patch) (*Patched, error) {
	item := PatchItem{ID: id, Patch: patch}
	request := subjects.PatchRequest{PatchItem: item.wire()}
	checked := request.PatchItem
	checked.Scope = scope // the request has it in its subject alone
	if err := checkPatch(&checked); err != nil {
		return nil, err
	}
	request.RequestID = item.RequestID
	reply := new(Patched)
	err := c.exchange(ctx, call{
		command: subjects.Patch, scope: scope, writes: true,
		request: &request, reply: reply, revision: &reply.Revision,
		fits: func() bool { return patched(scope, &request.PatchItem, reply) },
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// PatchBatch changes any number of credentials, as StoreBatch stores them.
func (c *Client) PatchBatch(ctx context.Context, scope Scope, items []PatchItem, opts *BatchOptions) ([]Result[Patched], error) {
	b := batch[subjects.PatchItem, Patched, *subjects.PatchItem, *Patched]{
		command: subjects.PatchBatch, writes: true,
		request: asItIs[subjects.PatchItem],
		check:   checkPatch,
		fits:    patched,
	}
	wires := make([]subjects.PatchItem, len(items))
	for i := range items {
		if items[i].RequestID != "" {
			return nil, errItemRequestID
		}
		wires[i] = items[i].wire()
	}
	return b.run(ctx, c, scope, wires, opts)
}

// PatchJob submits changes that workers make later, as StoreJob does. The items are
// sealed.
func (c *Client) PatchJob(ctx context.Context, scope Scope, items []PatchItem, opts *JobOptions) (*Submission, error) {
	wires := make([]subjects.PatchItem, len(items))
	for i := range items {
		if items[i].RequestID != "" {
			return nil, fmt.Errorf("item %d: %w", i, errJobItemRequestID)
		}
		wires[i] = items[i].wire()
	}
	return submit(ctx, c, subjects.PatchBatch, scope, wires, checkPatch, opts)
}

// patched reports whether a reply belongs to an item of a call at scope.
func patched(scope Scope, item *subjects.PatchItem, reply *Patched) bool {
	return reply.Version != "" && reply.Target == Target{Scope: within(scope, item.Scope), ID: item.ID}
}

// checkPatch finds mistakes that a worker would refuse, before any secret is sent.
func checkPatch(item *subjects.PatchItem) error {
	if err := checkTarget(item.Scope, item.ID); err != nil {
		return err
	}
	if err := item.Check(); err != nil {
		return about(item.Target, invalid(err))
	}
	return nil
}

// wire is the wire form of an item.
func (i *PatchItem) wire() subjects.PatchItem {
	return subjects.PatchItem{
		Target: Target{Scope: i.Scope, ID: i.ID},
		Data:   i.Data, RemoveData: i.RemoveData,
		Tags: i.Tags, RemoveTags: i.RemoveTags, RemoveAllTags: i.RemoveAllTags,
		Description: i.Description, Expires: i.Expires, RotationDays: i.RotationDays, Inheritable: i.Inheritable,
		Version: i.Version,
	}
}
