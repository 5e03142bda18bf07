package jobs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// No tenant may fill the queue, or the statuses of jobs, and so shut out the
// others. Once a stream is three quarters full, a first-level scope with more
// than half of the stream's limit in bytes must give way. In the queue, its
// newest jobs that have not begun fail. Of the statuses, its oldest ended jobs
// are forgotten; if that is not enough, jobs that have not begun fail.
//
// JetStream counts no bytes by subject. So a worker estimates from a sample
// which scope has the most bytes, and only while a stream is crowded.

const (
	samples = 64
	// mostDropped bounds how many jobs are dropped before the worker checks
	// again how full the stream is.
	mostDropped = 50
	// mostRead bounds how many messages are read for that.
	mostRead = 1000
)

// crowded reports whether a stream is so full that shares count.
func crowded(info *jetstream.StreamInfo) bool {
	return info.Config.MaxBytes > 0 && info.State.Bytes > uint64(info.Config.MaxBytes)/4*3
}

// tenant returns the first level of a scope.
func tenant(scope subjects.Scope) subjects.Scope {
	first, _, _ := strings.Cut(string(scope), "/")
	return subjects.Scope(first)
}

// largest estimates which tenant has the most bytes of a stream, and how many.
func largest(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo, scopeOf func(subject string) (subjects.Scope, error)) (most subjects.Scope, bytes int64, err error) {
	sizes, total := make(map[subjects.Scope]int64), int64(0)
	span := info.State.LastSeq - info.State.FirstSeq + 1
	for range samples {
		msg, err := stream.GetMsg(ctx, info.State.FirstSeq+rand.Uint64N(span), jetstream.WithGetMsgSubject(">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // all later ones are gone
		}
		if err != nil {
			return "", 0, err
		}
		size := int64(len(msg.Data))
		clear(msg.Data)
		total += size
		if scope, err := scopeOf(msg.Subject); err == nil {
			sizes[tenant(scope)] += size
		}
	}
	for scope, size := range sizes {
		if size > sizes[most] || most == "" && sizes[""] == 0 {
			most = scope
		}
	}
	if total == 0 {
		return "", 0, nil
	}
	return most, int64(float64(info.State.Bytes) * float64(sizes[most]) / float64(total)), nil
}

// shareQueue fails jobs of a tenant with more than its share of a crowded
// queue.
func (s *Service) shareQueue(ctx context.Context) error {
	for ctx.Err() == nil {
		info, err := s.queue.Info(ctx)
		if err != nil || !crowded(info) {
			return err
		}
		hog, has, err := largest(ctx, s.queue, info, func(subject string) (subjects.Scope, error) {
			_, scope, _, err := s.parse(subject)
			return scope, err
		})
		excess := has - info.Config.MaxBytes/2
		if err != nil || excess <= 0 {
			return err
		}
		dropped, read := 0, 0
		for seq := info.State.LastSeq; seq >= info.State.FirstSeq && seq > 0 && excess > 0 && dropped < mostDropped && read < mostRead; seq-- {
			msg, err := s.queue.GetMsg(ctx, seq)
			if isGone(err) {
				continue
			}
			if err != nil {
				return err
			}
			read++
			size := int64(len(msg.Data))
			if gave, err := s.giveWay(ctx, msg, hog); err != nil {
				return err
			} else if gave {
				excess -= size
				dropped++
			}
		}
		if dropped == 0 {
			return nil
		}
		s.notices.note("waiting jobs were failed, since their scope fills more than its share of the queue",
			fmt.Errorf("%s has about %d of %d bytes: allow the queue more (jobs.max_bytes), or let the scope submit less at once", hog, has, info.Config.MaxBytes))
	}
	return ctx.Err()
}

// giveWay fails a job in a crowded queue if it belongs to the given tenant and
// has not begun.
func (s *Service) giveWay(ctx context.Context, msg *jetstream.RawStreamMsg, hog subjects.Scope) (bool, error) {
	defer clear(msg.Data)
	_, scope, _, err := s.parse(msg.Subject)
	if err != nil || tenant(scope) != hog {
		return false, nil
	}
	p, err := s.read(msg.Subject, msg.Header, msg.Data, msg.Sequence)
	if err != nil {
		return false, nil // the worker that takes it reports it
	}
	defer clear(p.body)
	p.at = msg.Time
	_, err = s.ledger.change(ctx, p.Target, func(e *entry) error {
		if e.seq == 0 {
			e.status = p.status()
		}
		switch st := &e.status; {
		case st.State.Ended():
			return errEnded
		case st.State != subjects.JobAccepted || !st.Began.IsZero():
			return errKnown // it has begun
		default:
			st.State = subjects.JobFailed
			st.Reason = fmt.Sprintf("the queue is nearly full, and %s uses more than half of it (jobs.max_bytes); nothing was done: submit the job again later, under another name", hog)
		}
		return nil
	})
	if errors.Is(err, errKnown) {
		return false, nil
	}
	if err != nil && !errors.Is(err, errEnded) {
		return false, err
	}
	if err := s.queue.SecureDeleteMsg(ctx, msg.Sequence); err != nil && !isGone(err) {
		return false, err
	}
	return true, nil
}

// isGone reports whether a message has left its stream, for example because
// another worker makes room too. Reading and deleting return different errors
// for that.
func isGone(err error) bool {
	const errCodeSequenceNotFound jetstream.ErrorCode = 10043
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, jetstream.ErrMsgNotFound) || ok && api.ErrorCode == errCodeSequenceNotFound
}

// shareStatuses forgets ended jobs of a tenant with more than its share of the
// statuses. If that is not enough, it fails waiting jobs.
func (s *Service) shareStatuses(ctx context.Context) error {
	info, err := s.ledger.stream.Info(ctx)
	if err != nil || !crowded(info) {
		return err
	}
	beginning := s.ledger.subject(subjects.Target{Scope: subjects.Root, ID: ">"})
	hog, has, err := largest(ctx, s.ledger.stream, info, func(subject string) (subjects.Scope, error) {
		scope, _, err := s.config.Prefix.ParseJobStatus(statusBeginning(s.config.Prefix) + strings.TrimPrefix(subject, strings.TrimSuffix(beginning, ">")))
		return scope, err
	})
	excess := has - info.Config.MaxBytes/2
	if err != nil || excess <= 0 {
		return err
	}
	var ended []uint64
	var waiting []waitingJob
	for from, pages := uint64(1), 0; excess > 0 && pages < 10; pages++ {
		from, err = page(ctx, s.js, info.Config.Name, s.ledger.subject(subjects.Target{Scope: hog, ID: ">"}), from, mostRead/10, func(msg *jetstream.RawStreamMsg) {
			e, err := s.ledger.decode(msg.Subject, msg.Data, msg.Sequence)
			switch {
			case excess > 0 && (err != nil || e.status.State.Ended()):
				ended = append(ended, msg.Sequence)
				excess -= int64(len(msg.Data))
			case err == nil && e.status.State == subjects.JobAccepted && e.status.Began.IsZero():
				waiting = append(waiting, waitingJob{e.status.Target, int64(len(msg.Data))})
			}
		})
		if err != nil || from == 0 {
			break
		}
	}
	for _, seq := range ended {
		if err := s.ledger.stream.DeleteMsg(ctx, seq); err != nil && !isGone(err) {
			return err
		}
	}
	if err := s.failWaiting(ctx, hog, waiting, excess); err != nil {
		return err
	}
	if len(ended) > 0 {
		s.notices.note("statuses of ended jobs are forgotten early, since their scope fills more than its share",
			fmt.Errorf("%s has about %d of %d bytes: allow more (jobs.max_status_bytes), or keep statuses for a shorter time (jobs.keep)", hog, has, info.Config.MaxBytes))
	}
	return err
}

// waitingJob is a job that has not begun.
type waitingJob struct {
	job  subjects.Target
	size int64 // bytes of its status
}

// failWaiting fails jobs of a tenant that have not begun, the newest first,
// until their statuses add up to the excess bytes. Later looks delete them,
// like all jobs that have ended.
func (s *Service) failWaiting(ctx context.Context, hog subjects.Scope, waiting []waitingJob, excess int64) error {
	if excess <= 0 || len(waiting) == 0 {
		return nil
	}
	for _, w := range slices.Backward(waiting) {
		if excess -= w.size; excess < 0 {
			break
		}
		_, err := s.ledger.change(ctx, w.job, func(e *entry) error {
			if e.status.State != subjects.JobAccepted || !e.status.Began.IsZero() {
				return errKnown // it has begun or ended
			}
			e.status.State = subjects.JobFailed
			e.status.Reason = fmt.Sprintf("the stream of job statuses is nearly full, and %s uses more than half of it (jobs.max_status_bytes); nothing was done: submit the job again later, under another name", hog)
			return nil
		})
		if err != nil && !errors.Is(err, errKnown) {
			return err
		}
	}
	s.notices.note("waiting jobs were failed, since their scope fills more than its share of the statuses",
		fmt.Errorf("of %s: allow more (jobs.max_status_bytes), or let the scope submit fewer jobs that begin later", hog))
	return nil
}
