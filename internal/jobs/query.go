package jobs

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// errNoJob is returned for a job that is unknown or forgotten.
var errNoJob = subjects.Errorf(subjects.NotFound, "this scope has no such job, or it ended too long ago to be known")

// errDead is returned if there is no dead letter of the job.
var errDead = subjects.Errorf(subjects.NotFound, "this scope has no dead letter of that job")

// Show returns the status of a job. If the request has the body of a job, and
// another job has its name, the error is AlreadyExists.
func (s *Service) Show(ctx context.Context, job subjects.Target, request *subjects.JobShowRequest) (*subjects.JobStatus, error) {
	if err := checkJobID(job.ID); err != nil {
		return nil, err
	}
	if len(request.Posted) > 0 {
		e, err := s.claim(ctx, request.Command, job, request.Posted)
		if err != nil {
			return nil, unavailable(err)
		}
		return &e.status, nil
	}
	if request.Command != "" {
		return nil, subjects.Errorf(subjects.InvalidArgument, "command is given without posted: give posted, the body of a job of that command, or leave command out")
	}
	e, err := s.find(ctx, job)
	if err != nil {
		return nil, unavailable(err)
	}
	return &e.status, nil
}

// find returns the entry of a job. For a job in the queue without one, it
// returns the entry that a worker would make.
func (s *Service) find(ctx context.Context, job subjects.Target) (*entry, error) {
	if job.ID == "" {
		return nil, subjects.Errorf(subjects.InvalidArgument, "id is missing: give the id of the job")
	}
	if err := checkJobID(job.ID); err != nil {
		return nil, err
	}
	e, err := s.ledger.get(ctx, job)
	if err != nil || e.seq != 0 {
		return e, err
	}
	p, err := s.waiting(ctx, "", job)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		// Another worker may have entered it, run it, and taken it off the
		// queue meanwhile.
		if e, err = s.ledger.get(ctx, job); err == nil && e.seq == 0 {
			err = errNoJob
		}
		return e, err
	}
	if p == nil {
		return nil, err
	}
	clear(p.body)
	return &entry{status: p.status()}, nil
}

// unavailable turns an error of JetStream into the one that the caller sees.
func unavailable(err error) error {
	var known *subjects.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		return subjects.Errorf(subjects.StorageTimeout, "the streams of jobs did not answer in time: try again later")
	}
	return subjects.Errorf(subjects.StorageUnavailable, "the streams of jobs cannot be reached: try again later")
}

// List returns a page of jobs. If the filter matches little, List stops after a
// bounded search, and the page has few jobs or none.
func (s *Service) List(ctx context.Context, request *subjects.JobListRequest, maxBytes int, size func(msgpack []byte) int) (*subjects.JobListReply, error) {
	var from uint64
	if request.Cursor != "" {
		var err error
		if from, err = strconv.ParseUint(request.Cursor, 10, 64); err != nil {
			return nil, subjects.Errorf(subjects.InvalidArgument, "cursor does not belong to this list: begin again without a cursor")
		}
	}
	limit := request.Limit
	if limit == 0 {
		limit = subjects.DefaultListItems
	}
	all := subjects.Target{Scope: request.Scope, ID: ">"}
	stream, subject, read := s.ledger.stream, s.ledger.subject(all), s.statusOf
	if request.Dead {
		stream, subject, read = s.letters.stream, s.letters.subject(all), s.statusOfLetter
	}
	reply := &subjects.JobListReply{}
	total, full := len(`{"jobs":[],"cursor":""}`)+512, false
	const pages = 10 // of the stream, which List reads
	for range pages {
		next, err := page(ctx, s.js, stream.CachedInfo().Config.Name, subject, from, limit, func(msg *jetstream.RawStreamMsg) {
			status, err := read(msg)
			if full || err != nil || !matches(status, request) {
				return
			}
			status.Results = nil
			takes := size(subjects.Append(nil, status))
			if full = len(reply.Jobs) == limit || total+takes > maxBytes; full {
				from = msg.Sequence
				return
			}
			reply.Jobs, total = append(reply.Jobs, *status), total+takes
		})
		if err != nil {
			return nil, unavailable(err)
		}
		if full {
			next = from
		}
		reply.Cursor = ""
		if next != 0 {
			reply.Cursor = strconv.FormatUint(next, 10)
		}
		if from = next; full || next == 0 || len(reply.Jobs) == limit {
			break
		}
	}
	return reply, nil
}

func (s *Service) statusOf(msg *jetstream.RawStreamMsg) (*subjects.JobStatus, error) {
	e, err := s.ledger.decode(msg.Subject, msg.Data, msg.Sequence)
	if err != nil {
		return nil, err
	}
	return &e.status, nil
}

func (s *Service) statusOfLetter(msg *jetstream.RawStreamMsg) (*subjects.JobStatus, error) {
	dead, err := s.letters.decode(msg)
	if err != nil {
		return nil, err
	}
	return &dead.Status, nil
}

func matches(status *subjects.JobStatus, request *subjects.JobListRequest) bool {
	return (request.State == "" || status.State == request.State) && (request.Submission == "" || status.Submission == request.Submission)
}

// Cancel ends a job before its next item. A job that has ended stays as it is.
func (s *Service) Cancel(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error) {
	if _, err := s.find(ctx, job); err != nil {
		return nil, unavailable(err)
	}
	e, err := s.ledger.change(ctx, job, func(e *entry) error {
		if e.seq == 0 {
			found, err := s.find(ctx, job)
			if err != nil {
				return err
			}
			*e = *found
		}
		st := &e.status
		if st.Content == "" {
			st.Content = s.waitingContent(ctx, st.Command, job)
		}
		switch {
		case st.State.Ended():
			return errEnded
		case st.State == subjects.JobRunning && st.RetryAt.IsZero():
			st.Cancelling = true // the worker that runs or takes it stops
		default:
			st.State, st.RetryAt, st.Reason = subjects.JobCancelled, time.Time{}, ""
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnded) {
		return nil, unavailable(err)
	}
	if err == nil && e.status.State == subjects.JobCancelled {
		s.withdraw(ctx, job)
	}
	return &e.status, nil
}

// withdraw takes a cancelled job off the queue. Otherwise it might stay there
// until its start time, take up room, and even run if its status is forgotten
// before that.
func (s *Service) withdraw(ctx context.Context, job subjects.Target) {
	p, err := s.waiting(ctx, "", job)
	if p != nil {
		clear(p.body)
		err = s.queue.SecureDeleteMsg(ctx, p.seq) // leaves no values in clear on disk
	}
	if err != nil {
		// Another worker took it off, or will do so when it is delivered.
		s.config.Logger.Debug("a cancelled job could not be taken off the queue", "job", job, "error", err)
	}
}

var errEnded = errors.New("the job has ended")

// Retry puts a dead letter back into the queue. Items that have an outcome are not
// tried again.
func (s *Service) Retry(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error) {
	dead, err := s.letter(ctx, job)
	if err != nil {
		return nil, unavailable(err)
	}
	if len(dead.Body) == 0 {
		return nil, subjects.Errorf(subjects.InvalidArgument, "the job cannot be retried, since its body could not be read or kept: submit it as a new job")
	}
	e, err := s.ledger.change(ctx, job, func(e *entry) error {
		if e.seq != 0 && !e.status.State.Ended() {
			return nil // an earlier retry stopped here
		}
		e.status = dead.Status
		st := &e.status
		st.State, st.Reason, st.Attempts, st.Dead = subjects.JobAccepted, "", 0, false
		return nil
	})
	if err != nil {
		return nil, unavailable(err)
	}
	msg := nats.NewMsg(s.config.queued(dead.Status.Command, job.Scope, job.ID))
	msg.Data = dead.Body
	if err := s.publish(ctx, msg); err != nil {
		return nil, unavailable(err)
	}
	return &e.status, unavailable(s.letters.drop(ctx, dead))
}

func (s *Service) letter(ctx context.Context, job subjects.Target) (*letter, error) {
	if job.ID == "" {
		return nil, subjects.Errorf(subjects.InvalidArgument, "id is missing: give the id of the job")
	}
	if err := checkJobID(job.ID); err != nil {
		return nil, err
	}
	dead, err := s.letters.get(ctx, job)
	if err == nil && dead == nil {
		err = errDead
	}
	return dead, err
}

// Drop removes a dead letter.
func (s *Service) Drop(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error) {
	dead, err := s.letter(ctx, job)
	if err != nil {
		return nil, unavailable(err)
	}
	if err := s.letters.drop(ctx, dead); err != nil {
		return nil, unavailable(err)
	}
	e, err := s.ledger.change(ctx, job, func(e *entry) error {
		if !e.status.Dead {
			return errEnded
		}
		e.status.Dead = false
		return nil
	})
	switch {
	case err == nil:
		return &e.status, nil
	case errors.Is(err, errEnded):
		dead.Status.Dead = false
		return &dead.Status, nil
	}
	return nil, unavailable(err)
}
