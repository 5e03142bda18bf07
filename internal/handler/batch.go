package handler

import (
	"context"

	"credbus/internal/manager"
	"credbus/subjects"
)

// Every batch is resolved item by item, under the scope that the batch names.

func (h *Handler) storeBatch(ctx context.Context, c *call, r *subjects.StoreBatchRequest) ([]byte, subjects.Revision, error) {
	return batch(h, c, &r.Scope, func(resolve manager.Resolve, room subjects.Room) (*subjects.StoreBatchReply, error) {
		return h.config.Manager.StoreBatch(ctx, r, resolve, room)
	})
}

func (h *Handler) patchBatch(ctx context.Context, c *call, r *subjects.PatchBatchRequest) ([]byte, subjects.Revision, error) {
	return batch(h, c, &r.Scope, func(resolve manager.Resolve, room subjects.Room) (*subjects.PatchBatchReply, error) {
		return h.config.Manager.PatchBatch(ctx, r, resolve, room)
	})
}

func (h *Handler) retrieveBatch(ctx context.Context, c *call, r *subjects.RetrieveBatchRequest) ([]byte, subjects.Revision, error) {
	return batch(h, c, &r.Scope, func(resolve manager.Resolve, room subjects.Room) (*subjects.RetrieveBatchReply, error) {
		return h.config.Manager.RetrieveBatch(ctx, r, resolve, room)
	})
}

func (h *Handler) deleteBatch(ctx context.Context, c *call, r *subjects.DeleteBatchRequest) ([]byte, subjects.Revision, error) {
	return batch(h, c, &r.Scope, func(resolve manager.Resolve, room subjects.Room) (*subjects.DeleteBatchReply, error) {
		return h.config.Manager.DeleteBatch(ctx, r, resolve, room)
	})
}

func (h *Handler) validateBatch(ctx context.Context, c *call, r *subjects.ValidateBatchRequest) ([]byte, subjects.Revision, error) {
	return batch(h, c, &r.Scope, func(resolve manager.Resolve, room subjects.Room) (*subjects.ValidateBatchReply, error) {
		return h.config.Manager.ValidateBatch(ctx, r, resolve, room)
	})
}

// batch runs a batch in the scope that it names, if that is one of the
// subject's, and sees to it that the reply can be sent.
func batch[R any, Q subjects.Item[R]](h *Handler, c *call, scope *subjects.Scope,
	run func(manager.Resolve, subjects.Room) (*subjects.BatchReply[R, Q], error),
) ([]byte, subjects.Revision, error) {
	resolve, err := manager.ResolveWithin(c.scope, scope)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	reply, err := run(resolve, subjects.Room{Limit: h.replyLimit(), Size: c.size})
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	defer reply.Wipe()
	return subjects.AppendOpen(nil, reply), reply.Revision, nil
}
