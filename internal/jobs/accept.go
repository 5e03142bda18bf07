package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// posting is a job as it was published.
type posting struct {
	command subjects.Command
	subjects.Target
	job  subjects.Job
	body []byte    // msgpack
	at   time.Time // when the queue got it, by the server's clock
	seq  uint64    // in the queue
	// malformed says why the job cannot be read. It is nil if the job can be
	// read.
	malformed error
}

// read reads what was published. If a job cannot be read, the posting has what
// we know about it, at least a name. read returns an error if the subject is
// not one of a job. It turns a JSON body into msgpack. The caller must wipe
// body.
func (s *Service) read(subject string, header nats.Header, body []byte, seq uint64) (*posting, error) {
	p := &posting{seq: seq}
	var id subjects.ID
	var err, named error
	if p.command, p.Scope, id, err = s.parse(subject); err != nil {
		return nil, err
	}
	named = checkJobID(id)
	if subjects.IsJSON(body) {
		p.body, err = subjects.FromJSON(body)
		clear(body)
	} else {
		p.body = body
	}
	if err == nil {
		err = subjects.Decode(p.body, &p.job)
	}
	for _, candidate := range []string{
		string(id), string(p.job.ID),
		header.Get(nameHeader),
		"s" + strconv.FormatUint(seq, 10),
	} {
		if parsed, err := subjects.ParseID(candidate); err == nil && len(parsed) <= subjects.MaxJobIDLen {
			p.ID = parsed
			break
		}
	}
	if p.job.Submission == "" {
		p.job.Submission = p.ID
	}
	p.job.Parts = max(1, p.job.Parts)
	p.malformed = cmp.Or(err, named)
	return p, nil
}

func checkJobID(id subjects.ID) error {
	if len(id) > subjects.MaxJobIDLen {
		return subjects.Errorf(subjects.InvalidArgument, "the id of the job has %d characters: at most %d are allowed", len(id), subjects.MaxJobIDLen)
	}
	return nil
}

// inClear reports whether a job whose items hold values has items that are not sealed.
func (p *posting) inClear() bool {
	if !p.command.CarriesValues() {
		return false
	}
	if len(p.job.Sealed) == 0 {
		return true
	}
	// This only asks whether there are items beside the seal, which is the same
	// for every command.
	var beside subjects.StoreBatchRequest
	return subjects.Decode(p.body, &beside) != nil || len(beside.Items) > 0
}

// status returns the status of a job about which we know only that it was
// accepted.
func (p *posting) status() subjects.JobStatus {
	return subjects.JobStatus{
		Target: p.Target, Submission: p.job.Submission, Parts: p.job.Parts, Command: p.command, State: subjects.JobAccepted,
		NotBefore: p.job.NotBefore, ExpiresAt: p.job.ExpiresAt,
		Submitted: p.at.UTC().Truncate(time.Millisecond),
	}
}

// subscribe listens to the server's reports of accepted jobs.
func (s *Service) subscribe(ctx context.Context) (*nats.Subscription, error) {
	sub, err := s.config.Conn.QueueSubscribeSync(s.acceptances(">"), "credbus")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	return sub, s.config.Conn.FlushWithContext(ctx)
}

// acceptAll enters accepted jobs into the ledger. NATS may refuse the
// subscription now, or later when permissions change. acceptAll then subscribes
// again.
func (s *Service) acceptAll(sub *nats.Subscription) {
	const (
		patience = 30 * time.Second
		pause    = 5 * time.Second // after an error
	)
	for s.taking.Err() == nil {
		ctx, cancel := context.WithTimeout(s.taking, patience)
		msg, err := sub.NextMsgWithContext(ctx)
		cancel()
		switch {
		case err == nil:
			s.troubles.over(cannotHear)
			s.accept(msg)
		case s.taking.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		case errors.Is(err, nats.ErrSlowConsumer):
			s.troubles.note(cannotHear, err)
		default:
			s.troubles.note(cannotHear, fmt.Errorf("subscribe to %s: %w", s.acceptances(">"), err))
			s.sleep(pause)
			_ = sub.Unsubscribe() // on a closed connection it fails, and is not needed
			if again, err := s.subscribe(s.taking); err == nil && !refused(again) {
				sub = again
				s.troubles.over(cannotHear)
			} else if again != nil {
				sub = again
			}
		}
	}
	_ = sub.Unsubscribe()
}

// refused reports whether the server has refused a subscription. The server
// sends a refusal before it answers a flush.
func refused(sub *nats.Subscription) bool {
	_, err := sub.NextMsg(time.Nanosecond)
	return err != nil && !errors.Is(err, nats.ErrTimeout)
}

// accept enters a job into the ledger after the server reported it as accepted.
func (s *Service) accept(msg *nats.Msg) {
	rest, ok := strings.CutPrefix(msg.Subject, s.acceptances(""))
	seq, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	at, bad := time.Parse(time.RFC3339Nano, msg.Header.Get(jetstream.TimeStampHeaer))
	if !ok || err != nil || bad != nil {
		return // not from a server
	}
	p, err := s.read(strings.TrimSuffix(s.config.Prefix.Jobs(), ">")+rest, msg.Header, msg.Data, seq)
	if err != nil {
		return // the worker that takes it reports it
	}
	p.at = at
	defer clear(p.body)
	ctx, cancel := context.WithTimeout(s.running, apiTimeout)
	defer cancel()
	s.enter(ctx, p)
}

// enter makes an entry for a job that has none. From then on, the name of the
// job is bound to its content.
func (s *Service) enter(ctx context.Context, p *posting) {
	e := &entry{status: p.status()}
	e.status.Content = s.contentOf(ctx, p)
	if err := s.ledger.put(ctx, e); err != nil && !errors.Is(err, errOvertaken) {
		s.config.Logger.Debug("an accepted job could not be announced", "job", p.Target, "error", err)
	}
}

// acceptBacklog enters the jobs that were accepted while no worker ran.
func (s *Service) acceptBacklog() {
	info, err := s.queue.Info(s.taking, jetstream.WithSubjectFilter(s.config.Prefix.QueuedJob(s.config.Prefix.Jobs())))
	if err != nil {
		s.config.Logger.Debug("the waiting jobs could not be read from the queue", "error", err)
		return
	}
	for subject := range info.State.Subjects {
		command, scope, id, err := s.parse(subject)
		if err != nil || id == "" || s.taking.Err() != nil {
			continue // the worker that takes it enters it
		}
		if known, err := s.ledger.get(s.taking, subjects.Target{Scope: scope, ID: id}); err != nil || known.seq != 0 {
			continue
		}
		if p, err := s.waiting(s.taking, command, subjects.Target{Scope: scope, ID: id}); err == nil {
			s.enter(s.taking, p)
			clear(p.body)
		}
	}
}

// waiting finds a job in the queue by its ID. An empty command stands for any.
// The caller must wipe the body.
func (s *Service) waiting(ctx context.Context, command subjects.Command, job subjects.Target) (*posting, error) {
	if command == "" {
		command = "*"
	}
	msg, err := s.queue.GetLastMsgForSubject(ctx, s.config.queued(command, job.Scope, job.ID))
	if err != nil {
		return nil, err
	}
	p, err := s.read(msg.Subject, msg.Header, msg.Data, msg.Sequence)
	if err != nil {
		return nil, err
	}
	p.at = msg.Time
	return p, nil
}
