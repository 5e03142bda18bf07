package manager

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"

	"golang.org/x/sync/errgroup"

	"credbus/subjects"
)

// Resolve places a target in a scope over which the request has authority, or
// refuses it. The manager does not know how this is decided.
type Resolve func(subjects.Target) (subjects.Target, error)

// Within returns the scope that a request names. authority is the scope over
// which the request has authority: the named scope must be this one or below
// it. A request that names none means authority itself.
func Within(authority, named subjects.Scope) (subjects.Scope, error) {
	if named == subjects.Root {
		return authority, nil
	}
	if !authority.Contains(named) {
		return "", subjects.Errorf(subjects.InvalidArgument, "scope is neither the scope of the subject nor below it: send the request to a subject of the scope that it names")
	}
	return named, nil
}

// ResolveWithin returns the Resolve of a batch that names a scope, sent with
// authority over another one.
func ResolveWithin(authority subjects.Scope, named *subjects.Scope) (Resolve, error) {
	scope, err := Within(authority, *named)
	if err != nil {
		return nil, err
	}
	*named = scope
	return func(target subjects.Target) (subjects.Target, error) {
		if target.Scope == subjects.Root {
			target.Scope = scope
		}
		within, err := Within(authority, target.Scope)
		if err != nil {
			return subjects.Target{}, err
		}
		target.Scope = within
		return target, nil
	}, nil
}

// StoreBatch stores every item and reports on each, as far as the reply has
// room for it.
func (w *Writer) StoreBatch(ctx context.Context, request *subjects.StoreBatchRequest, resolve Resolve, room subjects.Room) (*subjects.StoreBatchReply, error) {
	return batch(ctx, w.records, subjects.StoreBatch, request, resolve, room, nil,
		func(item *subjects.StoreItem) *subjects.Target { return &item.Target },
		func(reply *subjects.StoreReply) subjects.Revision { return reply.Revision },
		func(ctx context.Context, i int, item *subjects.StoreItem) (*subjects.StoreReply, error) {
			return w.Store(ctx, item, itemRequestID(request.RequestID, i))
		})
}

// PatchBatch patches every item and reports on each, as far as the reply has
// room for it.
func (w *Writer) PatchBatch(ctx context.Context, request *subjects.PatchBatchRequest, resolve Resolve, room subjects.Room) (*subjects.PatchBatchReply, error) {
	return batch(ctx, w.records, subjects.PatchBatch, request, resolve, room, nil,
		func(item *subjects.PatchItem) *subjects.Target { return &item.Target },
		func(reply *subjects.PatchReply) subjects.Revision { return reply.Revision },
		func(ctx context.Context, i int, item *subjects.PatchItem) (*subjects.PatchReply, error) {
			return w.Patch(ctx, item, itemRequestID(request.RequestID, i))
		})
}

// RetrieveBatch retrieves every item. The caller must wipe the values in the
// reply.
func (r *Reader) RetrieveBatch(ctx context.Context, request *subjects.RetrieveBatchRequest, resolve Resolve, room subjects.Room) (*subjects.RetrieveBatchReply, error) {
	gather := r.gathering(ctx, request.Scope, len(request.Items), r.atOnce(request.Concurrency))
	fetch := r.fetching(gather)
	return batch(ctx, r.records, subjects.RetrieveBatch, request, resolve, room, gather,
		func(item *subjects.RetrieveItem) *subjects.Target { return &item.Target },
		func(reply *subjects.RetrieveReply) subjects.Revision { return reply.Revision },
		func(ctx context.Context, _ int, item *subjects.RetrieveItem) (*subjects.RetrieveReply, error) {
			encoded, revision, err := r.retrieve(ctx, fetch, nil, *item, request.Revision, Miss{})
			if err != nil {
				return nil, err
			}
			reply := new(subjects.RetrieveReply)
			return reply, subjects.Decode(subjects.AppendRevision(encoded, revision), reply)
		})
}

// DeleteBatch deletes every item.
func (w *Writer) DeleteBatch(ctx context.Context, request *subjects.DeleteBatchRequest, resolve Resolve, room subjects.Room) (*subjects.DeleteBatchReply, error) {
	return batch(ctx, w.records, subjects.DeleteBatch, request, resolve, room, nil,
		func(item *subjects.DeleteItem) *subjects.Target { return &item.Target },
		func(reply *subjects.DeleteReply) subjects.Revision { return reply.Revision },
		func(ctx context.Context, _ int, item *subjects.DeleteItem) (*subjects.DeleteReply, error) {
			return w.Delete(ctx, *item)
		})
}

func later(a, b subjects.Revision) subjects.Revision {
	if a.Compare(b) > 0 {
		return a
	}
	return b
}

// ValidateBatch validates the listed credentials or, with All, a page of those
// of the request's scope and below.
func (r *Reader) ValidateBatch(ctx context.Context, request *subjects.ValidateBatchRequest, resolve Resolve, room subjects.Room) (*subjects.ValidateBatchReply, error) {
	listed := request.BatchRequest
	if !request.All {
		if request.Paging != (subjects.Paging{}) {
			return nil, subjects.Errorf(subjects.InvalidArgument, "cursor and limit page through a scope: give all and no items, or leave cursor and limit out")
		}
		return r.validateItems(ctx, &listed, resolve, room)
	}
	if len(request.Items) > 0 {
		return nil, subjects.Errorf(subjects.InvalidArgument, "all and items exclude each other: give only one of them")
	}
	page, err := r.page(ctx, r.config.Store, request.Scope, request.Paging)
	if err != nil {
		return nil, err
	}
	for _, record := range page.Records {
		listed.Items = append(listed.Items, record.Target)
	}
	room.Limit -= len(page.Next)
	if len(listed.Items) == 0 {
		end, err := r.end(ctx)
		return &subjects.ValidateBatchReply{Cursor: page.Next, Revision: end}, err
	}
	reply, err := r.validateItems(ctx, &listed, resolve, room)
	if err != nil {
		return nil, err
	}
	end, err := r.end(ctx) // a credential that the page does not list is missing
	reply.Cursor, reply.Revision = page.Next, later(reply.Revision, end)
	return reply, err
}

// validateItems validates what request lists.
func (r *Reader) validateItems(ctx context.Context, request *subjects.BatchRequest[subjects.Target, *subjects.Target], resolve Resolve, room subjects.Room) (*subjects.ValidateBatchReply, error) {
	gather := r.gathering(ctx, request.Scope, len(request.Items), r.atOnce(request.Concurrency))
	fetch := r.fetching(gather)
	return batch(ctx, r.records, subjects.ValidateBatch, request, resolve, room, gather,
		func(item *subjects.Target) *subjects.Target { return item },
		func(reply *subjects.ValidateReply) subjects.Revision { return reply.Revision },
		func(ctx context.Context, _ int, item *subjects.Target) (*subjects.ValidateReply, error) {
			return r.validate(ctx, fetch, *item)
		})
}

// itemRequestID derives the name of an item's write from the request id of its
// batch, or returns "" if there is none.
func itemRequestID(requestID string, i int) string {
	if requestID == "" {
		return ""
	}
	return requestID + "-" + strconv.Itoa(i)
}

// batch runs command on every item, a few at a time. With a gather it runs all
// at once, because items that wait for a shared call cost the store nothing.
// Results are in the order of the items. It tries each item even if others
// fail, but begins no more reads once the reply is full. The reply has the
// latest revision of its results.
func batch[T, R any, P subjects.Item[T], Q subjects.Item[R]](
	ctx context.Context, on *records, name subjects.Command,
	request *subjects.BatchRequest[T, P], resolve Resolve, room subjects.Room, gather *gather,
	target func(*T) *subjects.Target,
	revision func(Q) subjects.Revision,
	command func(ctx context.Context, i int, item *T) (Q, error),
) (*subjects.BatchReply[R, Q], error) {
	switch n := len(request.Items); {
	case n == 0:
		return nil, subjects.Errorf(subjects.InvalidArgument, "items is empty: give 1 to %d", on.config.BatchItems)
	case n > on.config.BatchItems:
		return nil, subjects.Errorf(subjects.InvalidArgument, "%d items: at most %d are allowed", n, on.config.BatchItems)
	}
	filling := subjects.NewFilling[R, Q](len(request.Items), room, func(i int) (subjects.Scope, subjects.ID) {
		about := *target(&request.Items[i])
		if about.Scope == subjects.Root {
			about.Scope = request.Scope
		}
		return about.Scope, about.ID
	})
	atOnce := on.atOnce(request.Concurrency)
	if gather != nil {
		atOnce = len(request.Items)
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range request.Items {
		group.Go(func() error {
			defer gather.leave()
			if !name.Writes() && filling.Full() {
				filling.Leave(i)
				return nil
			}
			item := &request.Items[i]
			var result subjects.Result[R, Q]
			allowed := func(target subjects.Target) (subjects.Target, error) {
				if err := request.Refused[i]; err != nil { // what it names counts for nothing
					return subjects.Target{}, err
				}
				return resolve(target)
			}
			result.Err = on.item(name, target(item), allowed, func() error {
				done, err := command(ctx, i, item)
				if err == nil {
					result.Reply = *done
				}
				return err
			})
			filling.Put(i, result)
			return nil
		})
	}
	_ = group.Wait() // no item returns an error to the group
	reply := filling.Reply()
	for i := range reply.Results {
		result := &reply.Results[i]
		reply.Revision = later(reply.Revision, revision(&result.Reply))
		if result.Err != nil {
			reply.Revision = later(reply.Revision, result.Err.Revision)
		}
	}
	return reply, nil
}

// item carries out one item. It resolves target in place.
func (r *records) item(name subjects.Command, target *subjects.Target, resolve Resolve, command func() error) *subjects.Error {
	err := runItem(func() error {
		resolved, err := resolve(*target)
		if err != nil {
			return err
		}
		*target = resolved
		return command()
	})
	if _, broke := errors.AsType[panicked](err); broke && name.Writes() {
		err = unknownOutcome{err} // nobody knows how far it got
	}
	if err == nil {
		return nil
	}
	return r.explain(name, err, *target)
}

// Item carries out one write of a job with write, a method of the Writer, like
// an item of a batch request: it resolves target in place, and recovers from a
// panic.
func (w *Writer) Item(name subjects.Command, target *subjects.Target, resolve Resolve, write func() error) *subjects.Error {
	return w.records.item(name, target, resolve, write)
}

// atOnce returns how many items run at once if the request asks for the given
// number.
func (r *records) atOnce(asked int) int {
	if asked <= 0 {
		return r.config.BatchConcurrency
	}
	return min(asked, r.config.BatchConcurrency)
}

// panicked is the error of an item that panicked.
type panicked struct{ error }

// runItem keeps a panic on a goroutine of the manager from ending the worker.
// The recovered value may hold a secret, so it is not printed.
func runItem(item func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked{fmt.Errorf("panic (%T) at %s", r, debug.Stack())}
		}
	}()
	return item()
}
