package handler

import (
	"context"

	"credbus/subjects"
)

// commands is the table of all commands. A new command is a line here: its cost, and the
// function that takes its request and returns its reply.
func (h *Handler) commands() map[subjects.Command]*endpoint {
	m := h.config.Manager
	table := map[subjects.Command]*endpoint{
		subjects.Store:    command(single, h.store),
		subjects.Patch:    command(patching, h.patch),
		subjects.Retrieve: newEndpoint(single, h.retrieve),
		subjects.Delete:   command(single, h.delete),
		subjects.List:     roomy(h, many, h.list),
		subjects.Describe: command(single, h.describe),
		subjects.Validate: command(single, h.validate),

		subjects.StoreBatch:    batch(h, m.StoreBatch),
		subjects.PatchBatch:    batch(h, m.PatchBatch),
		subjects.RetrieveBatch: batch(h, m.RetrieveBatch),
		subjects.DeleteBatch:   batch(h, m.DeleteBatch),
		subjects.ValidateBatch: batch(h, m.ValidateBatch),

		subjects.ClearCache: command(everyReplica, h.clearCache),
		subjects.CacheStats: command(everyReplica, h.cacheStats),

		subjects.JobShow:   h.ofJobs(command(many, h.jobShow)),
		subjects.JobList:   h.ofJobs(roomy(h, many, h.jobList)),
		subjects.JobCancel: h.ofJobs(command(single, h.jobCancel)),
		subjects.JobRetry:  h.ofJobs(command(single, h.jobRetry)),
		subjects.JobDrop:   h.ofJobs(command(single, h.jobDrop)),

		subjects.SealKey: command(single, h.sealKey),

		// Commands of operators. NATS permissions decide who may publish to their subjects.
		subjects.Keys:            command(everyReplica, h.keys),
		subjects.Reseal:          command(many, h.reseal),
		subjects.Migrate:         command(many, m.MigratePage),
		subjects.Deployment:      command(everyReplica, h.deployment),
		subjects.AdminCacheStats: command(everyReplica, h.adminCacheStats),
		subjects.Audit:           h.ofAudit(newEndpoint(many, h.auditPage)),
	}
	for command, e := range table {
		e.command = command
	}
	return table
}

func (h *Handler) store(ctx context.Context, r *subjects.StoreRequest) (*subjects.StoreReply, error) {
	return h.config.Manager.Store(ctx, &r.StoreItem, r.RequestID)
}

func (h *Handler) patch(ctx context.Context, r *subjects.PatchRequest) (*subjects.PatchReply, error) {
	return h.config.Manager.Patch(ctx, &r.PatchItem, r.RequestID)
}

// retrieve differs: its open reply comes encoded, as the cache keeps it, so that its values
// are not copied once more.
func (h *Handler) retrieve(ctx context.Context, c *call, r *subjects.RetrieveRequest) ([]byte, subjects.Revision, error) {
	reply, revision, err := h.config.Manager.RetrieveMissed(ctx, nil, r.RetrieveItem, r.Revision, c.asked.miss)
	if err == nil && c.records {
		c.told = headOf(reply)
	}
	return reply, revision, err
}

func (h *Handler) delete(ctx context.Context, r *subjects.DeleteRequest) (*subjects.DeleteReply, error) {
	return h.config.Manager.Delete(ctx, r.DeleteItem)
}

func (h *Handler) list(ctx context.Context, r *subjects.ListRequest, room subjects.Room) (*subjects.ListReply, error) {
	return h.config.Manager.List(ctx, r, room.Limit, room.Size)
}

func (h *Handler) describe(ctx context.Context, r *subjects.DescribeRequest) (*subjects.DescribeReply, error) {
	return h.config.Manager.Describe(ctx, r.Target)
}

func (h *Handler) validate(ctx context.Context, r *subjects.ValidateRequest) (*subjects.ValidateReply, error) {
	return h.config.Manager.Validate(ctx, r.Target)
}

func (h *Handler) reseal(ctx context.Context, r *subjects.ResealRequest) (*subjects.ResealReply, error) {
	if h.config.ResealJobKey != nil && r.Cursor == "" { // once for all pages
		if err := h.config.ResealJobKey(ctx); err != nil {
			return nil, err
		}
	}
	return h.config.Manager.ResealPage(ctx, r)
}
