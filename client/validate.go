package client

import (
	"context"
	"iter"

	"credbus/subjects"
)

// Validation is a worker's finding about a credential, from stored data alone: its
// Status, and whether rotation is due and why.
type Validation = subjects.ValidateReply

// The outcomes of a validation.
const (
	Valid     = subjects.Valid
	Expired   = subjects.Expired
	Missing   = subjects.Missing
	Malformed = subjects.Malformed
)

// Validate checks one credential. An expired, missing or malformed one is not an
// error: Status says so.
func (c *Client) Validate(ctx context.Context, scope Scope, id ID) (*Validation, error) {
	if err := checkTarget(scope, id); err != nil {
		return nil, err
	}
	return c.validate(ctx, scope, Target{ID: id})
}

// validate asks at scope about a target of that scope or one below it.
func (c *Client) validate(ctx context.Context, scope Scope, target Target) (*Validation, error) {
	request := subjects.ValidateRequest{Target: target}
	var reply Validation
	err := c.exchange(ctx, call{
		command: subjects.Validate, scope: scope,
		request: &request, reply: &reply, revision: &reply.Revision,
		fits: func() bool { return validated(scope, &target, &reply) },
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

func validated(scope Scope, asked *Target, reply *Validation) bool {
	return reply.Status != "" && reply.Target == Target{Scope: within(scope, asked.Scope), ID: asked.ID}
}

// ValidateAll checks the credentials of a scope and of all scopes below it,
// page by page. If one could not be checked, it is yielded with an error, and the
// walk goes on. A nil Validation means that the walk itself has failed, and ended.
func (c *Client) ValidateAll(ctx context.Context, scope Scope) iter.Seq2[*Validation, error] {
	return func(yield func(*Validation, error) bool) {
		request := subjects.ValidateBatchRequest{All: true}
		for more := true; more; {
			reply, err := c.validatePage(ctx, scope, &request)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range reply.Results {
				if !yield(c.validationOf(ctx, scope, &reply.Results[i])) {
					return
				}
			}
			request.Cursor = reply.Cursor
			more = reply.Cursor != ""
		}
	}
}

func (c *Client) validatePage(ctx context.Context, scope Scope, request *subjects.ValidateBatchRequest) (*subjects.ValidateBatchReply, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	var reply subjects.ValidateBatchReply
	return &reply, c.exchange(ctx, call{
		command: subjects.ValidateBatch, scope: scope,
		request: request, reply: &reply, revision: &reply.Revision,
		fits: func() bool { return reply.Cursor == "" || reply.Cursor != request.Cursor },
	})
}

func (c *Client) validationOf(ctx context.Context, scope Scope, result *subjects.Result[subjects.ValidateReply, *subjects.ValidateReply]) (*Validation, error) {
	if result.Err == nil {
		return &result.Reply, nil
	}
	target := Target{Scope: result.Err.Scope, ID: result.Err.ID}
	err := error(result.Err)
	if leftOut(result.Err) {
		var reply *Validation
		if reply, err = c.validate(ctx, scope, target); err == nil {
			return reply, nil
		}
	}
	return &Validation{Target: target}, err
}
