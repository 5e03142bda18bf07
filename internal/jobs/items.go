package jobs

import (
	"context"
	"fmt"

	"credbus/internal/manager"
	"credbus/subjects"
)

// batch is the items of a job, of whatever command.
type batch interface {
	// targets are the credentials of the items, in order. An item that breaks a rule
	// may have none.
	targets() []subjects.Target
	// do carries out the items at some indices, and returns what came of them, in
	// order. requestID names their writes.
	do(ctx context.Context, indices []int, requestID string) []outcome
}

// outcome is what came of an item.
type outcome struct {
	result  subjects.JobResult
	reached subjects.Revision // a read that names it sees what was done
	final   bool              // it is not to be tried again, though nobody knows what came of it
}

// open decodes the items of a job, which may be sealed. wipe overwrites what was
// opened, once the batch is not used any more.
func (s *Service) open(p *posting) (b batch, wipe func(), err error) {
	body, wipe := p.body, func() {}
	if len(p.job.Sealed) > 0 {
		if own := s.key.Public().ID(); p.job.SealedTo != own {
			return nil, nil, fmt.Errorf("the job is sealed to the key %q, and the workers' is %q: submit it again", p.job.SealedTo, own)
		}
		body, err = s.key.Open(p.job.Sealed, s.config.Prefix.Job(p.command, p.Scope, p.ID))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: it was sealed for another job or changed; submit it again", err)
		}
		wipe = func() { clear(body) }
	}
	m := s.config.Manager
	switch p.command {
	case subjects.StoreBatch:
		b, err = decode(p, body, &batchOf[subjects.StoreItem, subjects.StoreReply, *subjects.StoreItem, *subjects.StoreReply]{
			about: func(item *subjects.StoreItem) *subjects.Target { return &item.Target },
			run:   m.StoreBatch,
			tell: func(reply *subjects.StoreReply, result *subjects.JobResult) subjects.Revision {
				result.Version = reply.Version
				return reply.Revision
			},
		})
	case subjects.RetrieveBatch:
		b, err = decode(p, body, &batchOf[subjects.RetrieveItem, subjects.RetrieveReply, *subjects.RetrieveItem, *subjects.RetrieveReply]{
			about: func(item *subjects.RetrieveItem) *subjects.Target { return &item.Target },
			run:   m.RetrieveBatch,
			tell: func(reply *subjects.RetrieveReply, result *subjects.JobResult) subjects.Revision {
				result.Version, result.Expires = reply.Version, reply.Expires
				return reply.Revision
			},
		})
	case subjects.DeleteBatch:
		b, err = decode(p, body, &batchOf[subjects.DeleteItem, subjects.DeleteReply, *subjects.DeleteItem, *subjects.DeleteReply]{
			about: func(item *subjects.DeleteItem) *subjects.Target { return &item.Target },
			run:   m.DeleteBatch,
			tell:  func(reply *subjects.DeleteReply, _ *subjects.JobResult) subjects.Revision { return reply.Revision },
		})
	case subjects.ValidateBatch:
		b, err = decode(p, body, &batchOf[subjects.Target, subjects.ValidateReply, *subjects.Target, *subjects.ValidateReply]{
			about: func(item *subjects.Target) *subjects.Target { return item },
			run: func(ctx context.Context, request *subjects.BatchRequest[subjects.Target, *subjects.Target], resolve manager.Resolve) (*subjects.ValidateBatchReply, error) {
				return m.ValidateBatch(ctx, &subjects.ValidateBatchRequest{BatchRequest: *request}, resolve)
			},
			tell: func(reply *subjects.ValidateReply, result *subjects.JobResult) subjects.Revision {
				result.Version, result.Status, result.Expires = reply.Version, reply.Status, reply.Expires
				result.RotationDue, result.Reason = reply.RotationDue, reply.Reason
				return reply.Revision
			},
		})
	}
	if err != nil {
		wipe()
		return nil, nil, err
	}
	return b, wipe, nil
}

// batchOf is the items of one command, which the manager carries out as it does
// those of a request.
type batchOf[T, R any, P subjects.Item[T], Q subjects.Item[R]] struct {
	request subjects.BatchRequest[T, P]
	resolve manager.Resolve
	about   func(*T) *subjects.Target
	run     func(context.Context, *subjects.BatchRequest[T, P], manager.Resolve) (*subjects.BatchReply[R, Q], error)
	tell    func(*R, *subjects.JobResult) subjects.Revision
}

// decode reads the items of a job into b. What it holds refers to body.
func decode[T, R any, P subjects.Item[T], Q subjects.Item[R]](p *posting, body []byte, b *batchOf[T, R, P, Q]) (batch, error) {
	err := subjects.Decode(body, &b.request)
	if err != nil {
		return nil, fmt.Errorf("the items of the job cannot be read: %w", err)
	}
	if len(b.request.Items) == 0 {
		return nil, fmt.Errorf("the job has no items: give 1 to %d, or set all", subjects.MaxBatchItems)
	}
	b.resolve, err = manager.ResolveWithin(p.Scope, &b.request.Scope)
	return b, err
}

func (b *batchOf[T, R, P, Q]) targets() []subjects.Target {
	targets := make([]subjects.Target, len(b.request.Items))
	for i := range b.request.Items {
		targets[i], _ = b.resolve(*b.about(&b.request.Items[i])) // what is out of reach says so when it is its turn
	}
	return targets
}

func (b *batchOf[T, R, P, Q]) do(ctx context.Context, indices []int, requestID string) []outcome {
	request := &subjects.BatchRequest[T, P]{Scope: b.request.Scope, Refused: make(map[int]error)}
	request.RequestID = requestID
	for n, i := range indices {
		request.Items = append(request.Items, b.request.Items[i])
		if err := b.request.Refused[i]; err != nil {
			request.Refused[n] = err
		}
	}
	outcomes := make([]outcome, len(indices))
	reply, err := b.run(ctx, request, b.resolve)
	for n := range outcomes {
		result := &outcomes[n].result
		result.Target = *b.about(&request.Items[n]) // as it was resolved
		if err != nil {
			result.Err, _ = manager.Explain(err, result.Target)
			continue
		}
		if result.Err = reply.Results[n].Err; result.Err == nil {
			outcomes[n].reached = b.tell(&reply.Results[n].Reply, result)
		} else {
			outcomes[n].reached, result.Err.Revision = result.Err.Revision, subjects.Revision{}
		}
	}
	if err == nil {
		reply.Wipe()
	}
	return outcomes
}
