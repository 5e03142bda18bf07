package jobs

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// errOther is returned for a job whose name another one has.
var errOther = subjects.Errorf(subjects.AlreadyExists, "another job in this scope has this name, with another command or other items; this job was not accepted: submit it under another name")

// errKnown ends a claim that changes nothing.
var errKnown = errors.New("the job is known")

// claim enters a published job into the ledger under its name, unless another
// job has the name. The error is NotFound if the job is neither in the ledger
// nor in the queue.
func (s *Service) claim(ctx context.Context, command subjects.Command, job subjects.Target, body []byte) (*entry, error) {
	if !slices.Contains(subjects.JobCommands, command) || job.ID == "" {
		return nil, subjects.Errorf(subjects.InvalidArgument, "posted is the body of a job: give its id and, as command, one of %v", subjects.JobCommands)
	}
	p, err := s.read(s.config.Prefix.Job(command, job.Scope, job.ID), nil, slices.Clone(body), 0)
	if err != nil {
		return nil, err
	}
	defer clear(p.body)
	c, err := s.open(ctx, p)
	defer c.wipe()
	if err != nil {
		return nil, subjects.Errorf(subjects.InvalidArgument, "posted cannot be told from other jobs: %v", err)
	}
	e, err := s.ledger.change(ctx, job, func(e *entry) error {
		changed, err := s.enterWaiting(ctx, command, job, e)
		switch {
		case err != nil:
			return err
		case !isJob(&e.status, p, c, nil):
			return errOther
		case !changed:
			return errKnown
		}
		return nil
	})
	if errors.Is(err, errKnown) {
		err = nil
	}
	return e, err
}

// enterWaiting completes the entry of a job that no worker has opened yet, with
// the content in the queue. It reports whether it did.
func (s *Service) enterWaiting(ctx context.Context, command subjects.Command, job subjects.Target, e *entry) (changed bool, err error) {
	if e.opened() {
		return false, nil
	}
	queued, err := s.waiting(ctx, command, job)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		// Another worker may have entered it, run it, and taken it off the
		// queue meanwhile.
		now, err := s.ledger.get(ctx, job)
		switch {
		case err != nil:
			return false, err
		case now.opened():
			*e = *now
			return false, nil
		case now.seq != 0:
			return false, errOther // one with another command, or entered by hand
		}
		return false, errNoJob
	}
	if err != nil {
		return false, err
	}
	defer clear(queued.body)
	if e.seq == 0 {
		e.status = queued.status()
	}
	if e.status.Content = s.contentOf(ctx, queued); e.status.Content == "" {
		return false, errOther // it cannot be read
	}
	return true, nil
}

// opened reports whether a worker has read the content of the job, or the job
// ended before one did.
func (e *entry) opened() bool {
	return e.seq != 0 && (e.status.Content != "" || e.status.State.Ended() || e.status.State == subjects.JobRunning)
}

// waitingContent returns the digest of a job in the queue. It is "" if the job
// is not there or cannot be read.
func (s *Service) waitingContent(ctx context.Context, command subjects.Command, job subjects.Target) string {
	queued, err := s.waiting(ctx, command, job)
	if err != nil {
		return ""
	}
	defer clear(queued.body)
	return s.contentOf(ctx, queued)
}

func (s *Service) contentOf(ctx context.Context, p *posting) string {
	c, err := s.open(ctx, p)
	defer c.wipe()
	if err != nil {
		return ""
	}
	return c.digest
}
