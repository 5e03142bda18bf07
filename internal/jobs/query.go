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

// errNoJob is returned for a job that nobody knows, or not any more.
var errNoJob = subjects.Errorf(subjects.NotFound, "no such job in this scope, or it ended too long ago")

// errDead is returned for a dead letter that is not there.
var errDead = subjects.Errorf(subjects.NotFound, "no dead letter of that job in this scope")

// Show says how a job stands. Where the request has the body of a job, it is AlreadyExists
// when the job of that name is another one.
func (s *Service) Show(ctx context.Context, job subjects.Target, request *subjects.JobShowRequest) (*subjects.JobStatus, error) {
	if len(request.Posted) > 0 {
		e, err := s.claim(ctx, request.Command, job, request.Posted)
		if err != nil {
			return nil, unavailable(err)
		}
		return &e.status, nil
	}
	if request.Command != "" {
		return nil, subjects.Errorf(subjects.InvalidArgument, "command says of what posted is the body: give posted, or leave command out")
	}
	e, err := s.find(ctx, job)
	if err != nil {
		return nil, unavailable(err)
	}
	return &e.status, nil
}

// find returns the entry of a job, or one that would be made for a job which waits
// in the queue.
func (s *Service) find(ctx context.Context, job subjects.Target) (*entry, error) {
	if job.ID == "" {
		return nil, subjects.Errorf(subjects.InvalidArgument, "id is missing: give that of the job")
	}
	e, err := s.ledger.get(ctx, job)
	if err != nil || e.seq != 0 {
		return e, err
	}
	p, err := s.waiting(ctx, "", job)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		// It may have been entered, run and taken off meanwhile.
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

// unavailable is what a caller is told of an error of JetStream.
func unavailable(err error) error {
	var known *subjects.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		return subjects.Errorf(subjects.StorageTimeout, "the streams of jobs did not answer in time")
	}
	return subjects.Errorf(subjects.StorageUnavailable, "the streams of jobs cannot be reached: try again later")
}

// List returns a page of jobs. A filter that matches little is not searched for
// without end.
func (s *Service) List(ctx context.Context, request *subjects.JobListRequest, maxBytes int, size func(msgpack []byte) int) (*subjects.JobListReply, error) {
	var from uint64
	if request.Cursor != "" {
		var err error
		if from, err = strconv.ParseUint(request.Cursor, 10, 64); err != nil {
			return nil, subjects.Errorf(subjects.InvalidArgument, "cursor is not one of this list: begin again without a cursor")
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
	const pages = 10 // of the stream
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
	return (request.State == "" || status.State == request.State) && (request.Batch == "" || status.Batch == request.Batch)
}

// Cancel has a job end before its next item. One that has ended stays as it is.
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
			st.Cancelling = true // whoever runs it stops, or whoever takes it up
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

// withdraw takes a cancelled job off the queue, where it may lie until its time has
// come: it would take up room, and be run if it is forgotten before that.
func (s *Service) withdraw(ctx context.Context, job subjects.Target) {
	p, err := s.waiting(ctx, "", job)
	if p != nil {
		clear(p.body)
		err = s.queue.SecureDeleteMsg(ctx, p.seq) // what came in clear is not left on disk
	}
	if err != nil {
		// It was taken off meanwhile, or is when it is delivered.
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
		return nil, subjects.Errorf(subjects.InvalidArgument, "the job cannot be retried, since its body could not be read or kept: submit it anew")
	}
	e, err := s.ledger.change(ctx, job, func(e *entry) error {
		if e.seq != 0 && !e.status.State.Ended() {
			return nil // a retry that broke off
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
		return nil, subjects.Errorf(subjects.InvalidArgument, "id is missing: give that of the job")
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
