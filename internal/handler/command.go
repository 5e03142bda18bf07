package handler

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// endpoint returns the callback of a command's subscriptions.
func (h *Handler) endpoint(command subjects.Command) nats.MsgHandler {
	commands := map[subjects.Command]func(*call){
		subjects.Store:         dispatch(h, h.store),
		subjects.Patch:         dispatch(h, h.patch),
		subjects.Retrieve:      dispatch(h, h.retrieve),
		subjects.Delete:        dispatch(h, h.delete),
		subjects.List:          dispatch(h, h.list),
		subjects.Validate:      dispatch(h, h.validate),
		subjects.StoreBatch:    dispatch(h, h.storeBatch),
		subjects.PatchBatch:    dispatch(h, h.patchBatch),
		subjects.RetrieveBatch: dispatch(h, h.retrieveBatch),
		subjects.DeleteBatch:   dispatch(h, h.deleteBatch),
		subjects.ValidateBatch: dispatch(h, h.validateBatch),
		subjects.ClearCache:    dispatch(h, h.clearCache),
		subjects.CacheStats:    dispatch(h, h.cacheStats),
		subjects.JobShow:       dispatch(h, h.jobShow),
		subjects.JobList:       dispatch(h, h.jobList),
		subjects.JobCancel:     dispatch(h, h.aboutJob(Jobs.Cancel)),
		subjects.JobRetry:      dispatch(h, h.aboutJob(Jobs.Retry)),
		subjects.JobDrop:       dispatch(h, h.aboutJob(Jobs.Drop)),
		subjects.SealKey:       dispatch(h, h.sealKey),
		subjects.Keys:          dispatch(h, h.keys),
		subjects.Reseal:        dispatch(h, h.reseal),
		subjects.Migrate:       dispatch(h, h.migrate),
		subjects.Deployment:    dispatch(h, h.deployment),

		subjects.AdminCacheStats: dispatch(h, h.adminCacheStats),
	}
	run := commands[command]
	return func(msg *nats.Msg) {
		taken := false
		defer func() {
			if !taken {
				clear(msg.Data) // it may hold values; dispatch wipes what it takes
			}
		}()
		if !h.accept(msg) {
			return
		}
		c := &call{command: command, msg: msg, begun: time.Now(), json: subjects.IsJSON(msg.Data)}
		c.sent = h.sent(c.begun)
		scope, err := h.config.Prefix.ParseCommand(command, msg.Subject)
		if err != nil {
			h.refuseMalformed(c, err)
			return
		}
		c.scope = scope
		if asks(command) {
			taken = h.waiting.TryGo(func() error { run(c); return nil })
		} else {
			taken = h.pool.submit(command, len(msg.Data), func() { run(c) })
		}
		if !taken {
			h.counts.exhausted.Add(1)
			h.refuse(c, subjects.Errorf(subjects.ResourceExhausted, "the worker is full, so nothing was done: send the request again later"))
		}
	}
}

func (h *Handler) store(ctx context.Context, c *call, r *subjects.StoreRequest) ([]byte, subjects.Revision, error) {
	target, err := c.resolve(r.Target)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	r.Target = target
	reply, err := h.config.Manager.Store(ctx, &r.StoreItem, r.RequestID)
	if err != nil {
		return nil, subjects.Revision{}, about(target, err)
	}
	return subjects.AppendOpen(nil, reply), reply.Revision, nil
}

func (h *Handler) patch(ctx context.Context, c *call, r *subjects.PatchRequest) ([]byte, subjects.Revision, error) {
	target, err := c.resolve(r.Target)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	r.Target = target
	reply, err := h.config.Manager.Patch(ctx, &r.PatchItem, r.RequestID)
	if err != nil {
		return nil, subjects.Revision{}, about(target, err)
	}
	return subjects.AppendOpen(nil, reply), reply.Revision, nil
}

func (h *Handler) retrieve(ctx context.Context, c *call, r *subjects.RetrieveRequest) ([]byte, subjects.Revision, error) {
	target, err := c.resolve(r.Target)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	r.Target = target
	reply, revision, err := h.config.Manager.Retrieve(ctx, nil, r.RetrieveItem, r.Revision)
	if err != nil {
		return nil, subjects.Revision{}, about(target, err)
	}
	return reply, revision, nil
}

func (h *Handler) delete(ctx context.Context, c *call, r *subjects.DeleteRequest) ([]byte, subjects.Revision, error) {
	target, err := c.resolve(r.Target)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	r.Target = target
	reply, err := h.config.Manager.Delete(ctx, r.DeleteItem)
	if err != nil {
		return nil, subjects.Revision{}, about(target, err)
	}
	return subjects.AppendOpen(nil, reply), reply.Revision, nil
}

func (h *Handler) list(ctx context.Context, c *call, r *subjects.ListRequest) ([]byte, subjects.Revision, error) {
	scope, err := c.within(r.Scope)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	r.Scope = scope
	reply, err := h.config.Manager.List(ctx, r, h.replyLimit(), c.size)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	return subjects.AppendOpen(nil, reply), reply.Revision, nil
}

func (h *Handler) validate(ctx context.Context, c *call, r *subjects.ValidateRequest) ([]byte, subjects.Revision, error) {
	target, err := c.resolve(r.Target)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	reply, err := h.config.Manager.Validate(ctx, target)
	if err != nil {
		return nil, subjects.Revision{}, about(target, err)
	}
	return subjects.AppendOpen(nil, reply), reply.Revision, nil
}
