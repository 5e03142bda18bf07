package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"credbus/subjects"
)

// StoreItem is one credential of StoreBatch. An empty Scope means the scope of
// the call; any other must lie below it. RequestID must stay empty: the one of
// BatchOptions is for all items.
type StoreItem struct {
	Scope Scope
	ID    ID
	Data  Data
	StoreOptions
}

// RetrieveItem is one credential of RetrieveBatch.
type RetrieveItem struct {
	Scope Scope // empty: the scope of the call
	ID    ID
	RetrieveOptions
}

// DeleteItem is one credential of DeleteBatch. RequestID must stay empty.
type DeleteItem struct {
	Scope Scope // empty: the scope of the call
	ID    ID
	DeleteOptions
}

// The replies to a store and a delete. Their Revision is zero in a batch.
type (
	Stored  = subjects.StoreReply
	Deleted = subjects.DeleteReply
)

// Result is the outcome of one item of a batch: Reply, or else Err.
type Result[T any] struct {
	Reply *T
	Err   error
}

// BatchOptions are options of a batch.
type BatchOptions struct {
	// Concurrency is how many items a worker works on at once, at most 100.
	// Zero means the worker's own setting, which is also the upper limit.
	Concurrency int
	// RequestID repeats a store or delete of exactly the same items, as in
	// StoreOptions. At most 48 characters of A-Z a-z 0-9 - _.
	RequestID string
}

// maxBatchRequestID leaves room for the number that send appends.
const maxBatchRequestID = 48

// StoreBatch stores any number of credentials. The results are in the order
// of the items, one for each. If one item fails, the others are still tried.
//
// The client sends the items in as few requests as their number and the NATS
// server's maximum payload allow, one request after another. If a whole request
// fails, the batch stops, and err is the reason. It is also the Err of the items
// of that request and of those not sent yet; only items that were sent can have an
// OutcomeUnknownError. A nil opts is the zero BatchOptions.
func (c *Client) StoreBatch(ctx context.Context, scope Scope, items []StoreItem, opts *BatchOptions) (results []Result[Stored], err error) {
	b := batch[subjects.StoreItem, Stored, *subjects.StoreItem, *Stored]{
		command: subjects.StoreBatch, writes: true,
		request: asItIs[subjects.StoreItem],
		check:   checkStore,
		fits: func(scope Scope, item *subjects.StoreItem, reply *Stored) bool {
			return reply.Version != "" && reply.Target == Target{Scope: within(scope, item.Scope), ID: item.ID}
		},
	}
	wires := make([]subjects.StoreItem, len(items))
	for i := range items {
		if items[i].RequestID != "" {
			return nil, errItemRequestID
		}
		wires[i] = items[i].wire()
	}
	return b.run(ctx, c, scope, wires, opts)
}

// RetrieveBatch retrieves any number of credentials, as StoreBatch stores
// them. Those that did not fit into the reply are fetched one by one.
func (c *Client) RetrieveBatch(ctx context.Context, scope Scope, items []RetrieveItem, opts *BatchOptions) ([]Result[Credential], error) {
	b := batch[subjects.RetrieveItem, subjects.RetrieveReply, *subjects.RetrieveItem, *subjects.RetrieveReply]{
		command: subjects.RetrieveBatch,
		request: asItIs[subjects.RetrieveItem],
		check:   func(item *subjects.RetrieveItem) error { return checkTarget(item.Scope, item.ID) },
		fits:    retrieved,
		single: func(ctx context.Context, item *subjects.RetrieveItem) (*subjects.RetrieveReply, error) {
			return c.retrieve(ctx, scope, *item)
		},
	}
	wires := make([]subjects.RetrieveItem, len(items))
	for i := range items {
		wires[i] = items[i].wire()
	}
	replies, err := b.run(ctx, c, scope, wires, opts)
	results := make([]Result[Credential], len(replies))
	for i, r := range replies {
		results[i].Err = r.Err
		if r.Err == nil {
			results[i].Reply = &Credential{r.Reply.Credential}
		}
	}
	return results, err
}

// DeleteBatch deletes any number of credentials, as StoreBatch stores them.
func (c *Client) DeleteBatch(ctx context.Context, scope Scope, items []DeleteItem, opts *BatchOptions) ([]Result[Deleted], error) {
	b := batch[subjects.DeleteItem, Deleted, *subjects.DeleteItem, *Deleted]{
		command: subjects.DeleteBatch, writes: true,
		request: asItIs[subjects.DeleteItem],
		check:   func(item *subjects.DeleteItem) error { return checkTarget(item.Scope, item.ID) },
		fits: func(scope Scope, item *subjects.DeleteItem, reply *Deleted) bool {
			return reply.Target == Target{Scope: within(scope, item.Scope), ID: item.ID}
		},
	}
	wires := make([]subjects.DeleteItem, len(items))
	for i := range items {
		if items[i].RequestID != "" {
			return nil, errItemRequestID
		}
		wires[i] = items[i].wire()
	}
	return b.run(ctx, c, scope, wires, opts)
}

// ValidateBatch checks any number of credentials, as RetrieveBatch retrieves
// them. An empty Scope of an item is that of the call.
func (c *Client) ValidateBatch(ctx context.Context, scope Scope, items []Target, opts *BatchOptions) ([]Result[Validation], error) {
	b := batch[Target, Validation, *Target, *Validation]{
		command: subjects.ValidateBatch,
		request: func(r *subjects.BatchRequest[Target, *Target]) subjects.Request {
			return &subjects.ValidateBatchRequest{BatchRequest: *r}
		},
		check: func(item *Target) error { return checkTarget(item.Scope, item.ID) },
		fits:  validated,
		single: func(ctx context.Context, item *Target) (*Validation, error) {
			return c.validate(ctx, scope, *item)
		},
	}
	return b.run(ctx, c, scope, items, opts)
}

var errItemRequestID = invalid(errors.New("an item of a batch names a request id: set that of BatchOptions, which is for all items"))

// batch is one kind of batch command.
type batch[I, R any, P subjects.Item[I], Q subjects.Item[R]] struct {
	command subjects.Command
	writes  bool
	request func(*subjects.BatchRequest[I, P]) subjects.Request
	check   func(*I) error
	// fits reports whether a reply belongs to an item of a call at scope.
	fits func(scope Scope, item *I, reply *R) bool
	// single asks for an item whose result did not fit into the reply. Writes
	// have none: the worker has acted on the item, and its outcome is unknown.
	single func(context.Context, *I) (*R, error)
}

func asItIs[I any, P subjects.Item[I]](r *subjects.BatchRequest[I, P]) subjects.Request { return r }

// run does the whole batch:
//
//	run
//	├─ check each item; one that breaks a rule is not sent
//	├─ split the others by number and size
//	└─ send each part, and collect its results
//	   └─ ask again for those that were left out
func (b *batch[I, R, P, Q]) run(ctx context.Context, c *Client, scope Scope, items []I, opts *BatchOptions) ([]Result[R], error) {
	var options BatchOptions
	if opts != nil {
		options = *opts
	}
	if len(options.RequestID) > maxBatchRequestID {
		return nil, subjects.Errorf(subjects.InvalidArgument,
			"the request id of a batch has %d characters: at most %d are allowed", len(options.RequestID), maxBatchRequestID)
	}
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	options.RequestID = cmp.Or(options.RequestID, rand.Text())

	results := make([]Result[R], len(items))
	parts := b.split(items, results, c.maxBody())
	for n, part := range parts {
		err := b.send(ctx, c, scope, part, options)
		if err == nil {
			continue
		}
		part.fail(err)
		for _, later := range parts[n+1:] {
			later.fail(notSent(err))
		}
		return results, err
	}
	return results, nil
}

// notSent is the error of items that were not sent because of an earlier failure.
// If that failure has an unknown outcome, the error drops this: it is not true for
// these items.
func notSent(err error) error {
	if unknown, ok := errors.AsType[*OutcomeUnknownError](err); ok {
		err = unknown.Err
	}
	if failure, ok := errors.AsType[*Error](err); ok && failure.OutcomeUnknown {
		known := *failure
		known.OutcomeUnknown = false
		known.Message = strings.TrimSuffix(known.Message, subjects.UnknownOutcomeRule)
		err = &known
	}
	return fmt.Errorf("not sent, since an earlier request of the batch failed: %w", err)
}

// part holds the items of one request of a batch.
type part[I, R any] struct {
	items   []I
	results []*Result[R] // where the outcome of each item goes
	first   int          // index of the first item in the whole batch
}

func (p *part[I, R]) fail(err error) {
	for _, result := range p.results {
		result.Err = err
	}
}

const (
	// requestOverhead is the most bytes that a request has beside its items.
	requestOverhead = 2 << 10
	// resultSize is the most bytes that a result without values has in a reply:
	// scope and ID, twice in an error, and a message.
	resultSize = 2 << 10
)

// split gives items that break a rule their result, and divides the others. An
// item counts with its size in the request or with resultSize, whichever is
// larger: if a write's result does not fit into the reply, it is lost.
func (b *batch[I, R, P, Q]) split(items []I, results []Result[R], maxPayload int) []*part[I, R] {
	limit := maxPayload - requestOverhead
	var parts []*part[I, R]
	var scratch []byte
	size := 0
	for i := range items {
		if err := b.check(&items[i]); err != nil {
			results[i].Err = err
			continue
		}
		clear(scratch)
		scratch = subjects.Append(scratch[:0], P(&items[i]))
		if len(scratch) > limit {
			results[i].Err = subjects.Errorf(subjects.PayloadTooLarge,
				"the item has %d bytes: the NATS server's maximum payload of %d leaves room for %d", len(scratch), maxPayload, limit)
			continue
		}
		takes := max(len(scratch), resultSize)
		size += takes
		if len(parts) == 0 || size > limit || len(parts[len(parts)-1].items) == subjects.MaxBatchItems {
			parts = append(parts, &part[I, R]{first: i})
			size = takes
		}
		last := parts[len(parts)-1]
		last.items = append(last.items, items[i])
		last.results = append(last.results, &results[i])
	}
	clear(scratch)
	return parts
}

// send sends one part and collects its results. An error is that of the whole
// request.
func (b *batch[I, R, P, Q]) send(ctx context.Context, c *Client, scope Scope, part *part[I, R], options BatchOptions) error {
	request := &subjects.BatchRequest[I, P]{Items: part.items, Concurrency: options.Concurrency}
	if b.writes {
		// Named after the index of its first item: if the same items are split
		// differently for another server, no two parts have the same id.
		request.RequestID = options.RequestID + "-" + strconv.Itoa(part.first)
	}
	var reply subjects.BatchReply[R, Q]
	err := c.exchange(ctx, call{
		command: b.command, scope: scope, writes: b.writes,
		request: b.request(request), reply: &reply, revision: &reply.Revision,
		fits: func() bool { return b.answered(scope, part, &reply) },
	})
	if unknown, ok := errors.AsType[*OutcomeUnknownError](err); ok {
		return &OutcomeUnknownError{RequestID: options.RequestID, Err: unknown.Err}
	}
	if err != nil {
		return err
	}

	var again errgroup.Group
	again.SetLimit(10)
	for i := range reply.Results {
		got, result, item := &reply.Results[i], part.results[i], &part.items[i]
		switch {
		case got.Err == nil:
			result.Reply = &got.Reply
		case leftOut(got.Err) && !b.writes:
			again.Go(func() error {
				result.Reply, result.Err = b.single(ctx, item)
				return nil
			})
		case b.writes && mayHaveActed(got.Err):
			result.Err = &OutcomeUnknownError{RequestID: options.RequestID, Err: got.Err}
		default:
			result.Err = got.Err
		}
	}
	_ = again.Wait() // errors are results
	return nil
}

// answered reports whether reply has one result for each item, in order.
func (b *batch[I, R, P, Q]) answered(scope Scope, part *part[I, R], reply *subjects.BatchReply[R, Q]) bool {
	if len(reply.Results) != len(part.items) {
		return false
	}
	for i := range reply.Results {
		result := &reply.Results[i]
		if result.Err == nil && !b.fits(scope, &part.items[i], &result.Reply) {
			return false
		}
	}
	return true
}

// leftOut reports whether a result was too large for its reply.
func leftOut(err *Error) bool { return err.Code == subjects.PayloadTooLarge && err.Retryable }

// wire is the wire form of an item.
func (i *StoreItem) wire() subjects.StoreItem {
	return subjects.StoreItem{
		Target: Target{Scope: i.Scope, ID: i.ID},
		Data:   i.Data,
		Metadata: subjects.Metadata{
			Description: i.Description, Tags: i.Tags, Expires: i.Expires,
			RotationDays: i.RotationDays, Inheritable: i.Inheritable,
		},
		CreateOnly: i.CreateOnly, UpdateOnly: i.UpdateOnly, Version: i.Version,
	}
}

func (i *RetrieveItem) wire() subjects.RetrieveItem {
	return subjects.RetrieveItem{Target: Target{Scope: i.Scope, ID: i.ID}, Inherit: i.Inherit, Fresh: i.Fresh}
}

func (i *DeleteItem) wire() subjects.DeleteItem {
	return subjects.DeleteItem{Target: Target{Scope: i.Scope, ID: i.ID}, Version: i.Version}
}
