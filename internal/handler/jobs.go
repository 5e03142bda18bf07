package handler

import (
	"context"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// Jobs answers what is asked about batch jobs.
type Jobs interface {
	Show(ctx context.Context, job subjects.Target, request *subjects.JobShowRequest) (*subjects.JobStatus, error)
	List(ctx context.Context, request *subjects.JobListRequest, maxBytes int, size func(msgpack []byte) int) (*subjects.JobListReply, error)
	Cancel(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error)
	Retry(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error)
	Drop(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error)
	// Submit puts a job into the queue and returns the answer for its submitter, nil if the
	// outcome is unknown.
	Submit(ctx context.Context, submitted *nats.Msg) (answer []byte)
	// SealKey is the public key that jobs are sealed to now.
	SealKey() subjects.SealKeyReply
}

// maxSubmitting bounds the jobs on their way into the queue, each of up to the server's
// maximum payload.
const maxSubmitting = 32

// submission takes a job. It replies to inboxes only, as every command does. A job without
// a reply subject gets no answer.
func (h *Handler) submission(msg *nats.Msg) {
	if msg.Reply != "" && !h.accept(msg) {
		clear(msg.Data)
		return
	}
	answer := func(text []byte) {
		if len(text) == 0 || msg.Reply == "" {
			return
		}
		if err := h.config.Conn.Publish(msg.Reply, text); err != nil {
			h.config.Logger.Warn("reply could not be sent", "command", "job", "error", err)
		}
	}
	taken := h.submitting.TryGo(func() error {
		defer clear(msg.Data) // it may hold values, although it should not
		answer(h.config.Jobs.Submit(h.ctx, msg))
		return nil
	})
	if !taken {
		clear(msg.Data)
		h.counts.exhausted.Add(1)
		answer(busy)
	}
}

// busy is an answer of a stream, which is what submitters read.
var busy = []byte(`{"error":{"code":429,"description":"the worker is full, so the job was not accepted: submit it again later"}}`)

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
