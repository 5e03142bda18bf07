package handler

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/manager"
	"credbus/subjects"
)

// Jobs answers requests about batch jobs.
type Jobs interface {
	Show(ctx context.Context, job subjects.Target, request *subjects.JobShowRequest) (*subjects.JobStatus, error)
	List(ctx context.Context, request *subjects.JobListRequest, maxBytes int, size func(msgpack []byte) int) (*subjects.JobListReply, error)
	Cancel(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error)
	Retry(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error)
	Drop(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error)
	// Submit puts a job into the queue and returns the answer for its submitter, nil if the
	// outcome is unknown.
	Submit(ctx context.Context, submitted *nats.Msg) (answer []byte)
	// MaxDelay is how far ahead a job may begin.
	MaxDelay() time.Duration
}

// maxSubmitting bounds the jobs on their way into the queue, each of up to the server's
// maximum payload.
const maxSubmitting = 32

// submission accepts a job. Like every command, it replies only to inboxes. A job without a
// reply subject gets no answer.
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
	pass, err := h.admitJob(msg)
	if err != nil {
		msg = h.light(msg) // answer needs no more of it
		told, _ := manager.Explain(err, subjects.Target{})
		h.recordJobRefusal(msg, told)
		h.holdBack(err, func() { answer(notAccepted(told)) })
		return
	}
	taken := h.submitting.TryGo(func() error {
		defer pass.Release()
		defer clear(msg.Data) // it may hold values, although it should not
		answer(h.submit(msg))
		return nil
	})
	if !taken {
		pass.Release()
		clear(msg.Data)
		h.counts.exhausted.Add(1)
		h.recordJobRefusal(msg, errFull)
		answer(notAccepted(errFull))
	}
}

// notAccepted has the form of a stream's answer, since submitters read that.
func notAccepted(told *subjects.Error) []byte {
	text, err := json.Marshal(struct {
		Error jetstream.APIError `json:"error"`
	}{jetstream.APIError{Code: told.Code.Number(), Description: told.Message}})
	if err != nil {
		panic(err) // texts and numbers always encode
	}
	return text
}

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

// jobReply is the status of a job, as of the revision of its own writes.
func jobReply(status *subjects.JobStatus, err error) (*subjects.JobReply, error) {
	if err != nil {
		return nil, err
	}
	return &subjects.JobReply{JobStatus: *status, Revision: status.Reached}, nil
}

func (h *Handler) jobList(ctx context.Context, r *subjects.JobListRequest, room subjects.Room) (*subjects.JobListReply, error) {
	return h.config.Jobs.List(ctx, r, room.Limit, room.Size)
}
