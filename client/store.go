package client

import (
	"context"
	"time"

	"credbus/subjects"
)

// StoreOptions are the metadata of a credential, which replace all earlier
// metadata, and the precondition of the write. At most one of CreateOnly,
// UpdateOnly and Version may be set.
type StoreOptions struct {
	Description  string            // at most 1,024 characters
	Tags         map[string]string // at most 50
	Expires      time.Time         // zero: never; kept to the millisecond
	RotationDays int               // how old the value may become; zero: no policy
	Inheritable  bool              // scopes below may read it with Inherit

	CreateOnly bool   // else ErrAlreadyExists
	UpdateOnly bool   // else ErrNotFound
	Version    string // the version to replace, else ErrVersionConflict

	// RequestID repeats an earlier call that ended in an OutcomeUnknownError:
	// the same write takes effect once, unless others write the credential in
	// between. Then it replaces their write or, if it has a Version, ends in
	// ErrVersionConflict. A different write under the id is refused with
	// ErrInvalidArgument.
	// At most 64 characters of A-Z a-z 0-9 - _; empty for a new write.
	RequestID string
}

// Store creates or replaces a credential and returns its new version. Values and metadata
// that are not given again are gone; Patch keeps them. The client neither keeps nor wipes
// the values, which have at most 65,536 bytes together.
//
// A nil opts is the zero StoreOptions. Errors beside the general ones are those
// of the preconditions, and OutcomeUnknownError.
func (c *Client) Store(ctx context.Context, scope Scope, id ID, data Data, opts *StoreOptions) (version string, err error) {
	item := StoreItem{ID: id, Data: data}
	if opts != nil {
		item.StoreOptions = *opts
	}
	request := subjects.StoreRequest{StoreItem: item.wire()}
	checked := request.StoreItem
	checked.Scope = scope // the request has it in its subject alone
	if err := checkStore(&checked); err != nil {
		return "", err
	}
	request.RequestID = item.RequestID
	var reply subjects.StoreReply
	err = c.exchange(ctx, call{
		command: subjects.Store, scope: scope, writes: true,
		request: &request, reply: &reply, revision: &reply.Revision,
		fits: func() bool {
			return reply.Version != "" && reply.Target == Target{Scope: scope, ID: id}
		},
	})
	if err != nil {
		return "", err
	}
	return reply.Version, nil
}

// DeleteOptions hold the precondition of a delete.
type DeleteOptions struct {
	Version   string // the version to delete, else ErrVersionConflict
	RequestID string // as in StoreOptions
}

// Delete removes a credential. If there is none, the error is ErrNotFound.
// A nil opts is the zero DeleteOptions.
func (c *Client) Delete(ctx context.Context, scope Scope, id ID, opts *DeleteOptions) error {
	item := DeleteItem{ID: id}
	if opts != nil {
		item.DeleteOptions = *opts
	}
	if err := checkTarget(scope, id); err != nil {
		return err
	}
	request := subjects.DeleteRequest{DeleteItem: item.wire()}
	request.RequestID = item.RequestID
	var reply subjects.DeleteReply
	return c.exchange(ctx, call{
		command: subjects.Delete, scope: scope, writes: true,
		request: &request, reply: &reply, revision: &reply.Revision,
		fits: func() bool { return reply.Target == Target{Scope: scope, ID: id} },
	})
}

// checkStore finds mistakes that a worker would refuse, before any secret is sent.
func checkStore(item *subjects.StoreItem) error {
	if err := checkTarget(item.Scope, item.ID); err != nil {
		return err
	}
	if err := item.Data.Check(); err != nil {
		return about(item.Target, invalid(err))
	}
	if err := item.Metadata.Check(); err != nil {
		return about(item.Target, invalid(err))
	}
	return nil
}

func about(target Target, err *Error) *Error {
	err.Scope, err.ID = target.Scope, target.ID
	return err
}
