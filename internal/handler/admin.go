package handler

import (
	"context"

	"credbus/subjects"
)

// The commands of who runs the workers. That a caller is one, NATS decides: it
// lets nobody else publish to their subjects.

func (h *Handler) keys(ctx context.Context, _ *call, _ *subjects.KeysRequest) ([]byte, subjects.Revision, error) {
	return ofAll(ctx, h.askKeys)
}

func (h *Handler) adminCacheStats(ctx context.Context, _ *call, _ *subjects.AdminCacheStatsRequest) ([]byte, subjects.Revision, error) {
	return ofAll(ctx, h.askStats)
}

func (h *Handler) deployment(ctx context.Context, _ *call, _ *subjects.DeploymentRequest) ([]byte, subjects.Revision, error) {
	return ofAll(ctx, h.askFacts)
}

func (h *Handler) reseal(ctx context.Context, c *call, r *subjects.ResealRequest) ([]byte, subjects.Revision, error) {
	scope, err := c.within(r.Scope)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	r.Scope = scope
	if h.config.ResealJobKey != nil && r.Cursor == "" { // once in a walk
		if err := h.config.ResealJobKey(ctx); err != nil {
			return nil, subjects.Revision{}, err
		}
	}
	reply, err := h.config.Manager.ResealPage(ctx, r)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	return subjects.AppendOpen(nil, reply), reply.Revision, nil
}

func (h *Handler) migrate(ctx context.Context, c *call, r *subjects.MigrateRequest) ([]byte, subjects.Revision, error) {
	scope, err := c.within(r.Scope)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	r.Scope = scope
	reply, err := h.config.Manager.MigratePage(ctx, r)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	return subjects.AppendOpen(nil, reply), reply.Revision, nil
}
