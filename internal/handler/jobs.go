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

var errNoJobs = subjects.Errorf(subjects.StorageUnavailable, "this worker runs no jobs: its setting jobs.enabled is false")

// ofJobs marks a command about jobs, which a worker without jobs refuses.
func (h *Handler) ofJobs(e *endpoint) *endpoint {
	e.ofJobs = true
	if h.config.Jobs == nil {
		e.off = errNoJobs
	}
	return e
}

func (h *Handler) jobShow(ctx context.Context, r *subjects.JobShowRequest) (*subjects.JobReply, error) {
	return jobReply(h.config.Jobs.Show(ctx, r.Target, r))
}

func (h *Handler) jobCancel(ctx context.Context, r *subjects.JobRequest) (*subjects.JobReply, error) {
	return jobReply(h.config.Jobs.Cancel(ctx, r.Target))
}

func (h *Handler) jobRetry(ctx context.Context, r *subjects.JobRequest) (*subjects.JobReply, error) {
	return jobReply(h.config.Jobs.Retry(ctx, r.Target))
}

func (h *Handler) jobDrop(ctx context.Context, r *subjects.JobRequest) (*subjects.JobReply, error) {
	return jobReply(h.config.Jobs.Drop(ctx, r.Target))
}

// jobReply is how a job stands, as of what it has written.
func jobReply(status *subjects.JobStatus, err error) (*subjects.JobReply, error) {
	if err != nil {
		return nil, err
	}
	return &subjects.JobReply{JobStatus: *status, Revision: status.Reached}, nil
}

func (h *Handler) jobList(ctx context.Context, r *subjects.JobListRequest, room subjects.Room) (*subjects.JobListReply, error) {
	return h.config.Jobs.List(ctx, r, room.Limit, room.Size)
}

func (h *Handler) sealKey(context.Context, *subjects.SealKeyRequest) (*subjects.SealKeyReply, error) {
	reply := h.config.Jobs.SealKey()
	return &reply, nil
}
