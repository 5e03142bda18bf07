package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"credbus/internal/manager"
	"credbus/subjects"
)

// batch is the items of a job, of whatever command.
type batch interface {
	len() int
	// resolve is the credential of an item, or why the job may not touch it, or which
	// rule the item breaks. With an error there is no credential.
	resolve(i int) (subjects.Target, error)
	// named is the credential that an item names, whether or not the job may touch it:
	// for results, and nothing else.
	named(i int) subjects.Target
	// encode returns all items, for the digest. The caller must wipe them.
	encode() []byte
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

// readItems reads the items of a job into c, which refers to body from then on, and
// returns the fields that stand beside them.
func (s *Service) readItems(c *content, p *posting, body []byte) (inner *subjects.Job, err error) {
	m := s.config.Manager
	switch p.command {
	case subjects.StoreBatch:
		c.items, inner, err = decode(s, p, body, &batchOf[subjects.StoreItem, subjects.StoreReply, *subjects.StoreItem, *subjects.StoreReply]{
			about: func(item *subjects.StoreItem) *subjects.Target { return &item.Target },
			run:   m.StoreBatch,
			tell: func(reply *subjects.StoreReply, result *subjects.JobResult) subjects.Revision {
				result.Version = reply.Version
				return reply.Revision
			},
		})
	case subjects.PatchBatch:
		c.items, inner, err = decode(s, p, body, &batchOf[subjects.PatchItem, subjects.PatchReply, *subjects.PatchItem, *subjects.PatchReply]{
			about: func(item *subjects.PatchItem) *subjects.Target { return &item.Target },
			run:   m.PatchBatch,
			tell: func(reply *subjects.PatchReply, result *subjects.JobResult) subjects.Revision {
				result.Version = reply.Version
				return reply.Revision
			},
		})
	case subjects.RetrieveBatch:
		c.items, inner, err = decode(s, p, body, &batchOf[subjects.RetrieveItem, subjects.RetrieveReply, *subjects.RetrieveItem, *subjects.RetrieveReply]{
			about: func(item *subjects.RetrieveItem) *subjects.Target { return &item.Target },
			run:   m.RetrieveBatch,
			tell: func(reply *subjects.RetrieveReply, result *subjects.JobResult) subjects.Revision {
				result.Version, result.Expires = reply.Version, reply.Expires
				return reply.Revision
			},
		})
	case subjects.DeleteBatch:
		c.items, inner, err = decode(s, p, body, &batchOf[subjects.DeleteItem, subjects.DeleteReply, *subjects.DeleteItem, *subjects.DeleteReply]{
			about: func(item *subjects.DeleteItem) *subjects.Target { return &item.Target },
			run:   m.DeleteBatch,
			tell:  func(reply *subjects.DeleteReply, _ *subjects.JobResult) subjects.Revision { return reply.Revision },
		})
	case subjects.ValidateBatch:
		c.items, inner, err = decode(s, p, body, &batchOf[subjects.Target, subjects.ValidateReply, *subjects.Target, *subjects.ValidateReply]{
			about: func(item *subjects.Target) *subjects.Target { return item },
			run: func(ctx context.Context, request *subjects.BatchRequest[subjects.Target, *subjects.Target], resolve manager.Resolve, room subjects.Room) (*subjects.ValidateBatchReply, error) {
				return m.ValidateBatch(ctx, &subjects.ValidateBatchRequest{BatchRequest: *request}, resolve, room)
			},
			tell: func(reply *subjects.ValidateReply, result *subjects.JobResult) subjects.Revision {
				result.Version, result.Status, result.Expires = reply.Version, reply.Status, reply.Expires
				result.RotationDue, result.Reason = reply.RotationDue, reply.Reason
				return reply.Revision
			},
		})
	}
	return inner, err
}

// batchOf is the items of one command, which the manager carries out as it does
// those of a request.
type batchOf[T, R any, P subjects.Item[T], Q subjects.Item[R]] struct {
	request subjects.BatchRequest[T, P]
	within  manager.Resolve
	about   func(*T) *subjects.Target
	run     func(context.Context, *subjects.BatchRequest[T, P], manager.Resolve, subjects.Room) (*subjects.BatchReply[R, Q], error)
	tell    func(*R, *subjects.JobResult) subjects.Revision
}

// decode reads the items of a job into b. What it holds refers to body.
func decode[T, R any, P subjects.Item[T], Q subjects.Item[R]](s *Service, p *posting, body []byte, b *batchOf[T, R, P, Q]) (batch, *subjects.Job, error) {
	var job, beside subjects.JobOf[T, P]
	sealed := len(p.job.Sealed) > 0
	err := s.decode(body, &job)
	if err == nil && sealed { // body is what was sealed, and p.body what stands beside it
		err = s.decode(p.body, &beside)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the items of the job cannot be read: %w", err)
	}
	outer, inner := &beside.Request, &job.Request
	switch {
	case sealed && len(outer.Items) > 0:
		return nil, nil, errors.New("items stand beside the seal: seal all of them")
	case sealed && outer.Scope != "" && outer.Scope != inner.Scope:
		return nil, nil, errors.New("scope beside the seal is not what was sealed: seal it with the items")
	case sealed && outer.Concurrency != 0 && outer.Concurrency != inner.Concurrency:
		return nil, nil, errors.New("concurrency beside the seal is not what was sealed: seal it with the items")
	case sealed && (job.All || !beside.Filter.IsZero()), sealed && !job.Filter.IsZero():
		return nil, nil, errors.New("a sealed job names its items: leave out all, tags, id_prefix and expires_before")
	case len(inner.Items) == 0 && sealed:
		return nil, nil, fmt.Errorf("no items are sealed: give 1 to %d", subjects.MaxBatchItems)
	case len(inner.Items) == 0:
		return nil, nil, fmt.Errorf("the job has no items: give 1 to %d, or set all", subjects.MaxBatchItems)
	case !job.Filter.IsZero():
		return nil, nil, errors.New("tags, id_prefix and expires_before select credentials where all is set: set it in place of items, or leave them out")
	}
	if err := cmp.Or(notOfJobs(&outer.Envelope), notOfJobs(&inner.Envelope)); err != nil {
		return nil, nil, err
	}
	b.request = job.Request
	b.within, err = manager.ResolveWithin(p.Scope, &b.request.Scope)
	return b, &job.Job, err
}

// notOfJobs refuses what concerns a request that somebody waits for.
func notOfJobs(e *subjects.Envelope) error {
	switch {
	case e.Timeout != 0 || !e.Deadline.IsZero():
		return errors.New("timeout and deadline are of requests: say with expires_at when the job may be begun no longer")
	case e.RequestID != "":
		return errors.New("request_id is of requests: the job's ID names it, and has it done once")
	}
	return nil
}

// decode reads what a submitter has written.
func (s *Service) decode(body []byte, m subjects.Message) error {
	if s.config.Strict {
		return subjects.DecodeStrict(body, m)
	}
	return subjects.Decode(body, m)
}

func (b *batchOf[T, R, P, Q]) len() int { return len(b.request.Items) }

func (b *batchOf[T, R, P, Q]) named(i int) subjects.Target { return *b.about(&b.request.Items[i]) }

func (b *batchOf[T, R, P, Q]) resolve(i int) (subjects.Target, error) {
	if err := b.request.Refused[i]; err != nil {
		return subjects.Target{}, err
	}
	target, err := b.within(b.named(i))
	if err != nil {
		return subjects.Target{}, err
	}
	return target, nil
}

func (b *batchOf[T, R, P, Q]) encode() []byte {
	return subjects.Append(nil, &subjects.BatchRequest[T, P]{Scope: b.request.Scope, Items: b.request.Items})
}

func (b *batchOf[T, R, P, Q]) do(ctx context.Context, indices []int, requestID string) []outcome {
	request := &subjects.BatchRequest[T, P]{Scope: b.request.Scope}
	request.RequestID = requestID
	for _, i := range indices {
		request.Items = append(request.Items, b.request.Items[i])
	}
	outcomes := make([]outcome, len(indices))
	reply, err := b.run(ctx, request, b.within, subjects.Room{})
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
