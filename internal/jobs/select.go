package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/manager"
	"credbus/subjects"
)

// selectItems makes jobs of the credentials that a job selects, one for each
// page. It enters a page and the place of the next one into the ledger before
// it hands the page over. A worker that takes over hands over the same page
// again, which queue and ledger recognise as the same job. So no credential is
// left out or comes twice.
func (s *Service) selectItems(ctx context.Context, e *entry, p *posting, within subjects.Scope) (verdict, error) {
	st := &e.status
	if err := s.begin(ctx, e); err != nil {
		return left, err
	}
	for first := true; ; first = false {
		if len(st.Results) > 0 {
			if err := s.handPage(ctx, e, p); err != nil {
				return s.selectAgain(ctx, e, p, err)
			}
			if st.Cursor == "" {
				break
			}
		} else if !first && st.Cursor == "" {
			break
		}
		if s.taking.Err() != nil {
			st.Attempts-- // this was not a failed attempt
			return again(0), s.ledger.put(ctx, e)
		}
		if err := s.nextPage(ctx, e, p, within); err != nil {
			if errors.Is(err, errOvertaken) {
				return left, err // by a caller who cancels, or another worker
			}
			return s.selectAgain(ctx, e, p, err)
		}
	}
	st.Results = nil
	return s.end(ctx, e, subjects.JobDone, "")
}

// selects returns the scope from which a job selects credentials: its own, or
// one below it that the job names, as in a request.
func (s *Service) selects(p *posting) (subjects.Scope, error) {
	var job subjects.JobOf[subjects.Target, *subjects.Target]
	if err := s.decode(p.body, &job); err != nil {
		return "", err
	}
	if len(job.Request.Items) > 0 {
		return "", subjects.Errorf(subjects.InvalidArgument, "all and items exclude each other: give only one of them")
	}
	if err := notOfJobs(&job.Request.Envelope); err != nil {
		return "", err
	}
	if len(p.job.Submission) > subjects.MaxSubmissionIDLen {
		return "", subjects.Errorf(subjects.InvalidArgument,
			"the name of the submission (by default that of the job) has %d characters: at most %d are allowed, since the names of the jobs for the found credentials begin with it",
			len(p.job.Submission), subjects.MaxSubmissionIDLen)
	}
	return manager.Within(p.Scope, job.Request.Scope)
}

// nextPage enters the next page of credentials into the ledger.
func (s *Service) nextPage(ctx context.Context, e *entry, p *posting, within subjects.Scope) error {
	request := &subjects.ListRequest{
		Scope: within, Filter: p.job.Filter,
		Paging: subjects.Paging{Cursor: e.status.Cursor, Limit: subjects.MaxBatchItems},
	}
	reply, err := s.config.Manager.List(ctx, request, int(s.config.Conn.MaxPayload()), func(msgpack []byte) int { return len(msgpack) })
	if err != nil {
		return err
	}
	st := &e.status
	st.Results, st.Cursor = nil, reply.Cursor
	for i := range reply.Items {
		item := &reply.Items[i]
		st.Results = append(st.Results, subjects.JobResult{Target: subjects.Target{Scope: item.Scope, ID: item.ID}, Version: item.Version, Pending: true})
	}
	if len(st.Results) > 0 {
		st.Parts++
	}
	return s.ledger.put(ctx, e)
}

// handPage makes a job of the page in the ledger.
func (s *Service) handPage(ctx context.Context, e *entry, p *posting) error {
	part := subjects.JobOf[subjects.DeleteItem, *subjects.DeleteItem]{Job: subjects.Job{
		ID:         subjects.ID(string(p.job.Submission) + "-" + strconv.Itoa(e.status.Parts-1)),
		Submission: p.job.Submission, Parts: e.status.Parts, ExpiresAt: p.job.ExpiresAt,
	}}
	for i := range e.status.Results {
		found := &e.status.Results[i]
		item := subjects.DeleteItem{Target: found.Target}
		if p.command == subjects.DeleteBatch {
			item.Version = found.Version // a credential that changed since may not match any more
		}
		part.Request.Items = append(part.Request.Items, item)
	}
	msg := nats.NewMsg(s.config.queued(p.command, p.Scope, part.ID))
	msg.Data = subjects.Append(nil, &part)
	// Expecting 0 keeps a second copy out of the queue.
	if err := s.publish(ctx, msg, jetstream.WithExpectLastSequencePerSubject(0)); err != nil && !isWrongSequence(err) {
		return err
	}
	_, err := s.claim(ctx, p.command, subjects.Target{Scope: p.Scope, ID: part.ID}, msg.Data)
	return err
}

// publish puts a job into the queue. It may get there twice; the ledger knows
// that it is the same. The message has no id: message ids are shared by the
// whole stream, so anybody who may publish a job could have used it before.
func (s *Service) publish(ctx context.Context, msg *nats.Msg, options ...jetstream.PublishOpt) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := s.js.PublishMsg(ctx, msg, options...)
	return err
}

// selectAgain leaves the rest of a selection to a later attempt.
func (s *Service) selectAgain(ctx context.Context, e *entry, p *posting, err error) (verdict, error) {
	a := &attempt{s: s, p: p, entry: e}
	told := a.explain(err, subjects.Target{Scope: p.Scope})
	st := &e.status
	switch {
	case slices.Contains([]subjects.Code{subjects.InvalidArgument, subjects.PermissionDenied, subjects.PayloadTooLarge, subjects.AlreadyExists}, told.Code):
		return s.bury(ctx, e, p, "the credentials could not be selected: "+told.Error(), true)
	case st.Attempts >= s.config.Attempts:
		return s.bury(ctx, e, p, fmt.Sprintf("given up after %d attempts: %s", st.Attempts, told.Error()), true)
	}
	wait := s.backoff(st.Attempts)
	st.RetryAt = s.clock.now().Add(wait)
	st.Reason = told.Error()
	if err := s.ledger.put(ctx, e); err != nil {
		return left, err
	}
	return again(wait), nil
}
