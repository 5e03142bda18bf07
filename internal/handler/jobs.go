package handler

import (
	"context"

	"credbus/subjects"
)

// Jobs answers what is asked about batch jobs.
type Jobs interface {
	Show(ctx context.Context, job subjects.Target, request *subjects.JobShowRequest) (*subjects.JobStatus, error)
	List(ctx context.Context, request *subjects.JobListRequest, maxBytes int, size func(msgpack []byte) int) (*subjects.JobListReply, error)
	Cancel(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error)
	Retry(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error)
	Drop(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error)
	// SealKey is the public key that jobs are sealed to now.
	SealKey() subjects.SealKeyReply
}

// errNoJobs is told by a worker that has nothing to do with jobs.
var errNoJobs = subjects.Errorf(subjects.StorageUnavailable, "this worker runs no jobs: whoever runs it has set jobs.enabled to false")

// aboutJob is a command about one job.
func (h *Handler) aboutJob(do func(Jobs, context.Context, subjects.Target) (*subjects.JobStatus, error)) func(context.Context, *call, *subjects.JobRequest) ([]byte, subjects.Revision, error) {
	return func(ctx context.Context, c *call, r *subjects.JobRequest) ([]byte, subjects.Revision, error) {
		job, err := c.resolve(r.Target)
		if err != nil {
			return nil, subjects.Revision{}, err
		}
		if h.config.Jobs == nil {
			return nil, subjects.Revision{}, errNoJobs
		}
		status, err := do(h.config.Jobs, ctx, job)
		if err != nil {
			return nil, subjects.Revision{}, about(job, err)
		}
		return subjects.AppendOpen(nil, &subjects.JobReply{JobStatus: *status}), status.Reached, nil
	}
}

func (h *Handler) jobShow(ctx context.Context, c *call, r *subjects.JobShowRequest) ([]byte, subjects.Revision, error) {
	show := h.aboutJob(func(jobs Jobs, ctx context.Context, job subjects.Target) (*subjects.JobStatus, error) {
		return jobs.Show(ctx, job, r)
	})
	return show(ctx, c, &r.JobRequest)
}

func (h *Handler) jobList(ctx context.Context, c *call, r *subjects.JobListRequest) ([]byte, subjects.Revision, error) {
	scope, err := c.within(r.Scope)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	if h.config.Jobs == nil {
		return nil, subjects.Revision{}, errNoJobs
	}
	r.Scope = scope
	reply, err := h.config.Jobs.List(ctx, r, h.replyLimit(), c.size)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	return subjects.AppendOpen(nil, reply), subjects.Revision{}, nil
}

func (h *Handler) sealKey(context.Context, *call, *subjects.SealKeyRequest) ([]byte, subjects.Revision, error) {
	if h.config.Jobs == nil {
		return nil, subjects.Revision{}, errNoJobs
	}
	reply := h.config.Jobs.SealKey()
	return subjects.AppendOpen(nil, &reply), subjects.Revision{}, nil
}
