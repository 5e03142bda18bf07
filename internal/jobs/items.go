package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"credbus/internal/manager"
	"credbus/subjects"
)

// items are the items of a job with any command.
type items interface {
	len() int
	// resolve returns the credential of an item. The error says why the job may
	// not touch it, or which rule the item breaks.
	resolve(i int) (subjects.Target, error)
	// named returns the credential that an item names, even if the job may not
	// touch it. Use it only for results.
	named(i int) subjects.Target
	// encode returns all items, for the digest. The caller must wipe them.
	encode() []byte
	// do carries out the items at some indices, and returns their outcomes, in
	// order. requestID names their writes.
	do(ctx context.Context, indices []int, requestID string) []outcome
}

// outcome is the outcome of an item.
type outcome struct {
	result  subjects.JobResult
	reached subjects.Revision // a read that names it sees the effect of the item
	final   bool              // do not try it again, although the outcome is unknown
}

// readItems reads the items of a job into c and returns the fields beside them.
// From then on, c refers to body.
func (s *Service) readItems(c *content, p *posting, body []byte) (inner *subjects.Job, err error) {
	m := s.config.Manager
	switch p.command {
	case subjects.StoreBatch:
		c.items, inner, err = decode(s, p, body, &itemsOf[subjects.StoreItem, subjects.StoreReply, *subjects.StoreItem, *subjects.StoreReply]{
			about: func(item *subjects.StoreItem) *subjects.Target { return &item.Target },
			write: m.Store,
			tell: func(reply *subjects.StoreReply, result *subjects.JobResult) subjects.Revision {
				result.Version = reply.Version
				return reply.Revision
			},
		})
	case subjects.PatchBatch:
		c.items, inner, err = decode(s, p, body, &itemsOf[subjects.PatchItem, subjects.PatchReply, *subjects.PatchItem, *subjects.PatchReply]{
			about: func(item *subjects.PatchItem) *subjects.Target { return &item.Target },
			write: m.Patch,
			tell: func(reply *subjects.PatchReply, result *subjects.JobResult) subjects.Revision {
				result.Version = reply.Version
				return reply.Revision
			},
		})
	case subjects.RetrieveBatch:
		c.items, inner, err = decode(s, p, body, &itemsOf[subjects.RetrieveItem, subjects.RetrieveReply, *subjects.RetrieveItem, *subjects.RetrieveReply]{
			about: func(item *subjects.RetrieveItem) *subjects.Target { return &item.Target },
			read:  m.RetrieveBatch,
			tell: func(reply *subjects.RetrieveReply, result *subjects.JobResult) subjects.Revision {
				result.Version, result.Expires = reply.Version, reply.Expires
				return reply.Revision
			},
		})
	case subjects.DeleteBatch:
		c.items, inner, err = decode(s, p, body, &itemsOf[subjects.DeleteItem, subjects.DeleteReply, *subjects.DeleteItem, *subjects.DeleteReply]{
			about: func(item *subjects.DeleteItem) *subjects.Target { return &item.Target },
			write: func(ctx context.Context, item *subjects.DeleteItem, _ string) (*subjects.DeleteReply, error) {
				return m.Delete(ctx, *item)
			},
			tell: func(reply *subjects.DeleteReply, _ *subjects.JobResult) subjects.Revision { return reply.Revision },
		})
	case subjects.ValidateBatch:
		c.items, inner, err = decode(s, p, body, &itemsOf[subjects.Target, subjects.ValidateReply, *subjects.Target, *subjects.ValidateReply]{
			about: func(item *subjects.Target) *subjects.Target { return item },
			read: func(ctx context.Context, request *subjects.BatchRequest[subjects.Target, *subjects.Target], resolve manager.Resolve, room subjects.Room) (*subjects.ValidateBatchReply, error) {
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

// itemsOf holds the items of one command. Either write is set, or read.
type itemsOf[T, R any, P subjects.Item[T], Q subjects.Item[R]] struct {
	manager *manager.Manager
	command subjects.Command
	request subjects.BatchRequest[T, P]
	within  manager.Resolve
	about   func(*T) *subjects.Target
	write   func(ctx context.Context, item *T, requestID string) (*R, error)
	read    func(context.Context, *subjects.BatchRequest[T, P], manager.Resolve, subjects.Room) (*subjects.BatchReply[R, Q], error)
	tell    func(*R, *subjects.JobResult) subjects.Revision
}

// decode reads the items of a job into b. b refers to body from then on.
func decode[T, R any, P subjects.Item[T], Q subjects.Item[R]](s *Service, p *posting, body []byte, b *itemsOf[T, R, P, Q]) (items, *subjects.Job, error) {
	var job, beside subjects.JobOf[T, P]
	sealed := len(p.job.Sealed) > 0
	err := s.decode(body, &job)
	if err == nil && sealed { // body is the sealed part, p.body the part beside it
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
		return nil, nil, errors.New("scope beside the seal differs from the sealed one: seal it with the items")
	case sealed && outer.Concurrency != 0 && outer.Concurrency != inner.Concurrency:
		return nil, nil, errors.New("concurrency beside the seal differs from the sealed one: seal it with the items")
	case sealed && (job.All || !beside.Filter.IsZero()), sealed && !job.Filter.IsZero():
		return nil, nil, errors.New("a sealed job must name its items: leave out all, tags, id_prefix and expires_before")
	case len(inner.Items) == 0 && sealed:
		return nil, nil, fmt.Errorf("no items are sealed: give 1 to %d", subjects.MaxBatchItems)
	case len(inner.Items) == 0:
		return nil, nil, fmt.Errorf("the job has no items: give 1 to %d, or set all", subjects.MaxBatchItems)
	case !job.Filter.IsZero():
		return nil, nil, errors.New("tags, id_prefix and expires_before select credentials only where all is set: set all and give no items, or leave them out")
	}
	if err := cmp.Or(notOfJobs(&outer.Envelope), notOfJobs(&inner.Envelope)); err != nil {
		return nil, nil, err
	}
	b.manager, b.command, b.request = s.config.Manager, p.command, job.Request
	b.within, err = manager.ResolveWithin(p.Scope, &b.request.Scope)
	return b, &job.Job, err
}

// notOfJobs refuses fields that make sense only in a request whose caller waits
// for the reply.
func notOfJobs(e *subjects.Envelope) error {
	switch {
	case e.Timeout != 0 || !e.Deadline.IsZero():
		return errors.New("timeout and deadline are fields of requests: use expires_at for the time after which the job must not begin")
	case e.RequestID != "":
		return errors.New("request_id is a field of requests: the ID of a job already makes it run once")
	}
	return nil
}

// decode decodes the message of a submitter.
func (s *Service) decode(body []byte, m subjects.Message) error {
	if s.config.Strict {
		return subjects.DecodeStrict(body, m)
	}
	return subjects.Decode(body, m)
}

func (b *itemsOf[T, R, P, Q]) len() int { return len(b.request.Items) }

func (b *itemsOf[T, R, P, Q]) named(i int) subjects.Target {
	target := *b.about(&b.request.Items[i])
	if target.Scope == subjects.Root {
		target.Scope = b.request.Scope
	}
	return target
}

func (b *itemsOf[T, R, P, Q]) resolve(i int) (subjects.Target, error) {
	if err := b.request.Refused[i]; err != nil {
		return subjects.Target{}, err
	}
	target, err := b.within(b.named(i))
	if err != nil {
		return subjects.Target{}, err
	}
	return target, nil
}

func (b *itemsOf[T, R, P, Q]) encode() []byte {
	return subjects.Append(nil, &subjects.BatchRequest[T, P]{Scope: b.request.Scope, Items: b.request.Items})
}

func (b *itemsOf[T, R, P, Q]) do(ctx context.Context, indices []int, requestID string) []outcome {
	if b.write == nil {
		return b.doReads(ctx, indices)
	}
	outcomes := make([]outcome, len(indices))
	for n, i := range indices {
		outcomes[n] = b.doWrite(ctx, i, requestID)
	}
	return outcomes
}

func (b *itemsOf[T, R, P, Q]) doWrite(ctx context.Context, i int, requestID string) (came outcome) {
	item, result := b.request.Items[i], &came.result
	result.Err = b.manager.Item(b.command, b.about(&item), b.within, func() error {
		reply, err := b.write(ctx, &item, requestID)
		if err == nil {
			came.reached = b.tell(reply, result)
		}
		return err
	})
	result.Target = *b.about(&item)
	came.settle()
	return came
}

// doReads lets the manager read several items at once.
func (b *itemsOf[T, R, P, Q]) doReads(ctx context.Context, indices []int) []outcome {
	request := &subjects.BatchRequest[T, P]{Scope: b.request.Scope}
	for _, i := range indices {
		request.Items = append(request.Items, b.request.Items[i])
	}
	outcomes := make([]outcome, len(indices))
	reply, err := b.read(ctx, request, b.within, subjects.Room{})
	for n := range outcomes {
		result := &outcomes[n].result
		result.Target = *b.about(&request.Items[n]) // the resolved one
		switch {
		case err != nil:
			result.Err, _ = manager.Explain(err, result.Target)
		case reply.Results[n].Err != nil:
			result.Err = reply.Results[n].Err
		default:
			outcomes[n].reached = b.tell(&reply.Results[n].Reply, result)
		}
		outcomes[n].settle()
	}
	if err == nil {
		reply.Wipe()
	}
	return outcomes
}

// settle copies the revision of an error to the field for that of a reply.
func (o *outcome) settle() {
	if err := o.result.Err; err != nil {
		o.reached, err.Revision = err.Revision, subjects.Revision{}
	}
}
