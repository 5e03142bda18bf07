package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"credbus/subjects"
)

// run submits all jobs, one after the other:
//
//	run ── is the name free? ── submit each, again if the failure may pass
//	    └─ do the names stand for these jobs?
//
// A name that the client made up is free. The queue takes a job only as the first
// message on its subject. Other messages in the queue do not matter.
func (s *submitter) run(ctx context.Context) (*Submission, error) {
	b := &Submission{Scope: s.scope, ID: s.name, Jobs: s.jobs, c: s.c, first: jobID(s.name, 0)}
	if s.options.Send != nil {
		return b, s.sendAll()
	}
	if err := s.checkFree(ctx); err != nil {
		return nil, err
	}
	for n := range s.jobs {
		if err := s.repeat(ctx, func(last bool) error { return s.single(ctx, n, last) }); err != nil {
			if s.unsure {
				err = &SubmitError{Submission: s.name, Jobs: s.jobs, Err: err}
			}
			return nil, err
		}
	}
	if err := s.checkNames(ctx); err != nil {
		if !errors.Is(err, ErrAlreadyExists) {
			err = &SubmitError{Submission: s.name, Jobs: s.jobs, Err: err}
		}
		return nil, err
	}
	return b, nil
}

// checkFree checks, before anything is published, that the name of the submission is free, or
// stands for this very submission.
func (s *submitter) checkFree(ctx context.Context) error {
	if s.options.Submission == "" {
		return nil
	}
	if err := s.checkName(ctx, 0); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// checkNames checks that the names stand for the published jobs, and not for others that
// are, or were, in the queue.
func (s *submitter) checkNames(ctx context.Context) error {
	if s.options.Submission == "" {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pollAtOnce)
	for n := range s.jobs {
		group.Go(func() error {
			err := s.checkName(ctx, n)
			if errors.Is(err, ErrNotFound) {
				return nil // it has ended and is forgotten, or was deleted
			}
			return err
		})
	}
	return group.Wait()
}

// checkName asks whether the name of the nth job stands for this job.
func (s *submitter) checkName(ctx context.Context, n int) error {
	msg, err := s.message(n)
	if err != nil {
		return err
	}
	var reply subjects.JobReply
	id := jobID(s.name, n)
	err = s.c.exchange(ctx, call{
		command: subjects.JobShow, scope: s.scope,
		once:    true, // the worker registers the job under its name
		request: &subjects.JobShowRequest{JobRequest: subjects.JobRequest{Target: Target{ID: id}}, Command: s.command, Posted: msg.Data},
		reply:   &reply, revision: &reply.Revision,
		fits: func() bool { return reply.Target == Target{Scope: s.scope, ID: id} && reply.State != "" },
	})
	return err
}

func (s *submitter) sendAll() error {
	for n := range s.jobs {
		msg, err := s.message(n)
		if err != nil {
			return err
		}
		if err := s.options.Send(msg); err != nil {
			return err
		}
	}
	return nil
}

// repeat calls try until it succeeds, as exchange does. A queue takes a job once, however
// often it comes, so the outcome of an attempt may stay unknown.
func (s *submitter) repeat(ctx context.Context, try func(last bool) error) error {
	for attempt := 0; ; attempt++ {
		last := attempt >= s.c.retries
		err := try(last)
		if err == nil || last || !passing(err) && !errors.Is(err, errNoAnswer) || !s.c.pause(ctx, attempt, err) {
			return err
		}
	}
}

// single submits one job. If the queue has a message on its subject, that is from an
// earlier attempt, or it is another job with its name, which checkNames finds.
func (s *submitter) single(ctx context.Context, n int, last bool) error {
	msg, err := s.message(n)
	if err != nil {
		return err
	}
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	ack, err := s.ask(ctx, msg, last)
	switch {
	case errors.Is(err, errQueued):
		return nil
	case err == nil && ack.Sequence == 0:
		return malformed(msg.Subject, "it is not the acknowledgement of a stream")
	}
	return err
}

var (
	// errQueued is wrapped by the error of a job that is not the first message on its
	// subject in the queue.
	errQueued = errors.New("the queue has a job on this subject")
	// errNoAnswer is wrapped by the error of a question that may be answered next time.
	errNoAnswer = errors.New("no answer of the queue")
)

// acknowledgement is the answer of a worker, in the form of a stream's.
type acknowledgement struct {
	Sequence uint64              `json:"seq"`
	Error    *jetstream.APIError `json:"error"`
}

// ask sends a job to a worker and waits for its answer.
func (s *submitter) ask(ctx context.Context, msg *nats.Msg, last bool) (ack acknowledgement, err error) {
	c, subject := s.c, msg.Subject
	ctx, cancel := s.answerTimeout(ctx, last)
	defer cancel()
	watched, stop, err := c.watch(ctx, &waiter{subject: subject, asks: true, reads: true})
	if err != nil {
		return ack, err
	}
	defer stop()
	if watched.Err() != nil {
		return ack, ended(watched, subject)
	}
	if !c.nc.IsConnected() {
		return ack, c.disconnected()
	}
	if err := c.inbox.open(watched); err != nil {
		if watched.Err() != nil {
			err = ended(watched, subject)
		}
		return ack, err
	}
	reply, err := c.inbox.request(watched, msg)
	switch {
	case err == nil:
		return s.read(subject, reply)
	case watched.Err() != nil:
		err := ended(watched, subject)
		if unsent(watched) {
			return ack, err
		}
		s.unsure = true
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", errNoAnswer, err)
		}
		return ack, err
	case errors.Is(err, nats.ErrNoResponders):
		return ack, fmt.Errorf("%w: no queue takes jobs on %s: check that a worker runs with jobs.enabled, that its prefix is %s, and that this account reaches it",
			ErrNoWorkers, subject, c.prefix)
	}
	return ack, c.notSent(subject, err)
}

// answerTimeout bounds one answer, and leaves half of the time for another attempt
// unless it is the last.
func (s *submitter) answerTimeout(ctx context.Context, last bool) (context.Context, context.CancelFunc) {
	timeout := s.c.timeout
	if deadline, ok := ctx.Deadline(); ok && !last {
		timeout = min(timeout, time.Until(deadline)/2)
	}
	return context.WithTimeout(ctx, timeout)
}

// read reads the answer of a stream, or returns the error that it holds.
func (s *submitter) read(subject string, reply *nats.Msg) (ack acknowledgement, err error) {
	if len(reply.Data) == 0 {
		return ack, nil
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		s.unsure = true
		return ack, malformed(subject, "it is not the answer of a stream")
	}
	if ack.Error == nil {
		s.unsure = s.unsure || ack.Sequence != 0
		return ack, nil
	}
	return ack, refusedJob(ack.Error)
}

// Error codes of streams that package jetstream does not name.
const (
	errCodeAccountLimits   jetstream.ErrorCode = 10002
	errCodeNoResources     jetstream.ErrorCode = 10023
	errCodeNoStorage       jetstream.ErrorCode = 10047
	errCodeMessageTooLarge jetstream.ErrorCode = 10054
	errCodeStoreFailed     jetstream.ErrorCode = 10077 // above all: the stream is full
)

// refusedJob is the error of a job that the stream refuses.
func refusedJob(err *jetstream.APIError) error {
	switch err.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return fmt.Errorf("%w: %w", errQueued, subjects.Errorf(subjects.Internal, "%s", err.Description))
	case errCodeAccountLimits, errCodeNoResources, errCodeNoStorage:
		return noStorage(err)
	case errCodeStoreFailed:
		if !strings.Contains(err.Description, "maximum") {
			return noStorage(err) // the disk is full, not the queue
		}
		return subjects.Errorf(subjects.ResourceExhausted,
			"the queue of jobs is full (%s): try again when workers have done some jobs, or raise jobs.max_bytes", err.Description)
	case errCodeMessageTooLarge:
		return subjects.Errorf(subjects.PayloadTooLarge, "the queue of jobs takes no message of that size: %s", err.Description)
	}
	if err.Code == http.StatusTooManyRequests {
		return subjects.Errorf(subjects.ResourceExhausted, "the job was not accepted: %s", err.Description)
	}
	if err.Code >= 500 {
		return subjects.Errorf(subjects.StorageUnavailable, "the queue of jobs cannot take the job: %s", err.Description)
	}
	return subjects.Errorf(subjects.Internal, "the queue of jobs refuses the job: %s", err.Description)
}

// noStorage is the error of a server or account without room: workers cannot make any.
func noStorage(err *jetstream.APIError) error {
	return subjects.Errorf(subjects.StorageFull,
		"the NATS servers have no room for the job, so it was not accepted (%s): ask the operator for more room in the account or on the disk", err.Description)
}
