package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// selectItems makes jobs of the credentials that a job selects, a page for each.
// Before a page is handed over it is entered into the ledger, with where to go on:
// a worker that takes over from here hands over the same page again, which the
// queue and the ledger take for the same job, and no credential is passed over or
// comes twice.
func (s *Service) selectItems(ctx context.Context, e *entry, p *posting) (verdict, error) {
	if p.command == subjects.StoreBatch || len(p.job.Sealed) > 0 {
		return s.bury(ctx, e, p, "a job that stores, or is sealed, names its items: leave out all", false)
	}
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
			st.Attempts-- // another worker goes on
			return again(0), s.ledger.put(ctx, e)
		}
		if err := s.nextPage(ctx, e, p); err != nil {
			if errors.Is(err, errOvertaken) {
				return left, err // by a wish to cancel, or another worker
			}
			return s.selectAgain(ctx, e, p, err)
		}
	}
	st.Results = nil
	return s.end(ctx, e, subjects.JobDone, "")
}

// nextPage enters the next page of credentials into the ledger.
func (s *Service) nextPage(ctx context.Context, e *entry, p *posting) error {
	request := &subjects.ListRequest{
		Scope: p.Scope, Filter: p.job.Filter,
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
		ID:    subjects.ID(string(p.job.Batch) + "-" + strconv.Itoa(e.status.Parts-1)),
		Batch: p.job.Batch, Parts: e.status.Parts, ExpiresAt: p.job.ExpiresAt,
	}}
	for i := range e.status.Results {
		found := &e.status.Results[i]
		item := subjects.DeleteItem{Target: found.Target}
		if p.command == subjects.DeleteBatch {
			item.Version = found.Version // what was changed since may not match any more
		}
		part.Request.Items = append(part.Request.Items, item)
	}
	msg := nats.NewMsg(s.config.Prefix.Job(p.command, p.Scope, part.ID))
	msg.Data = subjects.Append(nil, &part)
	return s.publish(ctx, msg, part.ID)
}

// publish puts a job into the queue. The same one again is taken for the same.
func (s *Service) publish(ctx context.Context, msg *nats.Msg, id subjects.ID) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, scope, _, err := s.config.Prefix.ParseJob(msg.Subject)
	if err != nil {
		return err
	}
	_, err = s.js.PublishMsg(ctx, msg, jetstream.WithMsgID(subjects.Target{Scope: scope, ID: id}.String()))
	return err
}

// selectAgain leaves the rest of a selection to a later attempt.
func (s *Service) selectAgain(ctx context.Context, e *entry, p *posting, err error) (verdict, error) {
	a := &attempt{s: s, p: p, entry: e}
	told := a.explain(err, subjects.Target{Scope: p.Scope})
	st := &e.status
	switch {
	case slices.Contains([]subjects.Code{subjects.InvalidArgument, subjects.PermissionDenied, subjects.PayloadTooLarge}, told.Code):
		return s.bury(ctx, e, p, "the credentials cannot be selected: "+told.Error(), true)
	case st.Attempts >= s.config.Attempts:
		return s.bury(ctx, e, p, fmt.Sprintf("given up after %d attempts: %s", st.Attempts, told.Error()), true)
	}
	wait := s.backoff(st.Attempts)
	st.RetryAt = time.Now().Add(wait).UTC().Truncate(time.Millisecond)
	st.Reason = told.Error()
	if err := s.ledger.put(ctx, e); err != nil {
		return left, err
	}
	return again(wait), nil
}
