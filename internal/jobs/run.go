package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// verdict says what happens to a delivery.
type verdict struct {
	settled bool          // take it off the queue
	again   bool          // deliver it again, after
	after   time.Duration // ...
	// Neither: another worker has the job now.
}

var (
	settled = verdict{settled: true}
	left    = verdict{}
)

func again(after time.Duration) verdict { return verdict{again: true, after: max(0, after)} }

// run is the path of every delivery:
//
//	run
//	├─ read            what was published
//	├─ attempt
//	│  ├─ open         what is it about, and is it the job of its name?
//	│  ├─ look         is it to be run, and now?
//	│  ├─ prepare      settle what is refused, note what is about to be deleted
//	│  ├─ begin        enter this worker and this attempt
//	│  ├─ items, or select, with a checkpoint every second
//	│  └─ conclude     done, to be tried again, or given up
//	└─ acknowledge
//
// It handles panics, wipes the message, and sends the signs of life that keep
// the job from other workers.
func (s *Service) run(msg jetstream.Msg) {
	defer clear(msg.Data()) // it may hold values
	metadata, err := msg.Metadata()
	if err != nil {
		s.config.Logger.Error("a job without a place in the queue", "subject", msg.Subject(), "error", err)
		return
	}
	p, err := s.read(msg.Subject(), msg.Headers(), msg.Data(), metadata.Sequence.Stream)
	if err != nil {
		s.config.Logger.Warn("a message in the queue is not a job", "subject", msg.Subject(), "error", err)
		s.erase(msg.Subject(), metadata.Sequence.Stream)
		_ = msg.TermWithReason("the subject is not that of a job")
		return
	}
	p.at = metadata.Timestamp
	defer clear(p.body)
	stop := s.showLife(msg)
	defer stop()
	v := s.safely(p)
	// Erase between the two: before conclude the message is still needed, and
	// after the acknowledgement the queue leaves its bytes on disk.
	if v.settled && (p.malformed != nil || p.inClear()) {
		s.erase(msg.Subject(), p.seq)
	}
	s.acknowledge(msg, p, v)
}

// safely calls attempt and recovers from a panic.
func (s *Service) safely(p *posting) (v verdict) {
	defer func() {
		if r := recover(); r != nil {
			// The recovered value may hold a secret, so it is not printed.
			s.config.Logger.Error("job panicked", "job", p.Target, "stack", string(debug.Stack()))
			v = again(s.backoff(s.config.Attempts))
		}
	}()
	for range 5 {
		v, err := s.attempt(p)
		switch {
		case err == nil:
			s.troubles.over(cannotBegin)
			return v
		case errors.Is(err, errOvertaken):
			continue // read the entry again
		case s.running.Err() == nil:
			s.troubles.note(cannotBegin, fmt.Errorf("job %s: %w", p.Target, err))
			s.reopen(err)
		}
		break
	}
	return again(s.config.Backoff)
}

// acknowledge answers the queue. If the answer gets lost, the job is delivered
// again, and the ledger knows its state.
func (s *Service) acknowledge(msg jetstream.Msg, p *posting, v verdict) {
	var err error
	switch {
	case v.settled:
		ctx, cancel := context.WithTimeout(s.running, apiTimeout)
		defer cancel()
		err = msg.DoubleAck(ctx)
	case v.again && v.after > 0:
		err = msg.NakWithDelay(v.after)
	case v.again:
		err = msg.Nak()
	}
	switch {
	case err != nil && s.running.Err() == nil:
		s.troubles.note(cannotAcknowledge, fmt.Errorf("job %s is delivered again (may this worker publish to $JS.ACK.>?): %w", p.Target, err))
	case err == nil && v.settled: // the server has answered
		s.troubles.over(cannotAcknowledge)
	}
}

// showLife keeps the queue from giving a job to another worker, until stop.
func (s *Service) showLife(msg jetstream.Msg) (stop func()) {
	ctx, cancel := context.WithCancel(s.running)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(s.config.AckWait / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = msg.InProgress() // if it gets lost, the next one may arrive
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// backoff is the pause after the nth attempt at a job. It is shorter than the
// time for which the ledger keeps an unchanged entry.
func (s *Service) backoff(n int) time.Duration {
	most := min(max(5*time.Minute, s.config.Backoff), s.config.Keep/2)
	d := min(most, s.config.Backoff<<min(max(0, n-1), 10))
	return d - rand.N(d/4+1)
}

// attempt carries out a job, or enters why not. The error is errOvertaken if
// the entry was changed meanwhile, or one of the ledger.
func (s *Service) attempt(p *posting) (verdict, error) {
	ctx := s.running
	c, unread := s.open(ctx, p)
	defer c.wipe()
	e, err := s.ledger.get(ctx, p.Target)
	if err != nil {
		return left, err
	}
	if e.seq == 0 {
		e.status = p.status()
	}
	elsewhere := errors.Is(unread, errElsewhere)
	st, now := &e.status, s.clock.now()
	switch {
	case e.seq != 0 && !elsewhere && !isJob(st, p, c, unread):
		return s.turnAway(ctx, p)
	case st.State.Ended():
		return settled, nil
	}
	if c != nil {
		st.Content = c.digest
	}
	switch {
	case st.Cancelling:
		s.lookUp(ctx, e, p, c)
		return s.end(ctx, e, subjects.JobCancelled, st.Reason)
	case !p.job.ExpiresAt.IsZero() && !now.Before(p.job.ExpiresAt):
		s.lookUp(ctx, e, p, c)
		return s.end(ctx, e, subjects.JobFailed, "the job expired before it was done")
	case elsewhere:
		return s.passOn(ctx, e, p, unread)
	case unread != nil:
		var why *refusal
		errors.As(unread, &why)
		return s.bury(ctx, e, p, why.reason, why.withBody)
	case st.Attempts == 0 && s.untimely(st, p) != "":
		return s.bury(ctx, e, p, s.untimely(st, p), false)
	case now.Before(p.job.NotBefore):
		return s.postpone(ctx, e, p.job.NotBefore.Sub(now))
	case now.Before(st.RetryAt):
		return again(st.RetryAt.Sub(now)), nil // the server has forgotten the delay
	case st.Attempts >= s.config.Attempts:
		return s.bury(ctx, e, p, fmt.Sprintf("given up after %d attempts: %s", st.Attempts, cmp.Or(st.Reason, "the workers that ran it stopped")), true)
	case st.Began.IsZero() && s.full.Load():
		return again(max(s.config.Backoff, time.Second)), nil
	}
	if p.job.All {
		return s.selectItems(ctx, e, p, c.within)
	}
	return s.runItems(ctx, e, p, c.items)
}

// isJob reports whether a published job is the one of an entry, as far as we
// can know. An unreadable job is not, unless the job of the entry was not read
// either, or perhaps only the key is lost.
func isJob(st *subjects.JobStatus, p *posting, c *content, unread error) bool {
	if c == nil {
		var why *refusal
		return st.Content == "" || errors.As(unread, &why) && why.keyless && st.Command == p.command
	}
	// An entry that a worker made on the report of the job has no digest yet.
	// An ended job without a digest could not be read.
	return st.Content == "" && !st.State.Ended() || st.Content != "" && sameContent(st.Content, c.digest)
}

// turnAway takes a job off the queue if another job has its name, and counts it
// in the entry of that job.
func (s *Service) turnAway(ctx context.Context, p *posting) (verdict, error) {
	e, err := s.ledger.change(ctx, p.Target, func(e *entry) error {
		if e.seq == 0 {
			return errOvertaken // the entry was forgotten meanwhile
		}
		e.status.Conflicts++
		return nil
	})
	if err != nil {
		return left, err
	}
	s.config.Logger.Warn("a job is refused, since another one has its name: submit it under another name", "job", p.Target, "command", p.command, "conflicts", e.status.Conflicts)
	return settled, nil
}

// untimely returns why the times of a job forbid that it ever begins, or "".
// Both the times of the job and st.Submitted are by the clock of the NATS
// servers.
func (s *Service) untimely(st *subjects.JobStatus, p *posting) string {
	slack := min(time.Minute, s.config.Keep/10)
	if p.job.NotBefore.Sub(st.Submitted) > s.config.MaxDelay+slack {
		return fmt.Sprintf("not_before is more than %s after the job was submitted (jobs.max_delay): submit it later", s.config.MaxDelay)
	}
	if len(p.job.Sealed) == 0 {
		return ""
	}
	// The status of a job is kept for at least Keep after it was accepted. A
	// job sealed earlier may have been done and forgotten.
	switch age := st.Submitted.Sub(p.job.Submitted); {
	case age > s.config.Keep-slack:
		return fmt.Sprintf("the job was sealed %s before it reached the queue, which is longer than statuses are kept (jobs.keep), so it may be an old job that was published again: submit it as a new job", age.Round(time.Second))
	case age < -slack:
		return fmt.Sprintf("the job claims to be sealed %s after it reached the queue: use the time in the reply to seal_key", (-age).Round(time.Second))
	}
	return ""
}

// passOn leaves a job to a worker that has its key.
func (s *Service) passOn(ctx context.Context, e *entry, p *posting, why error) (verdict, error) {
	st := &e.status
	if st.Attempts >= s.config.Attempts {
		return s.bury(ctx, e, p, fmt.Sprintf("given up after %d attempts: %s", st.Attempts, why), true)
	}
	if err := s.begin(ctx, e); err != nil {
		return left, err
	}
	wait := s.backoff(st.Attempts)
	st.RetryAt, st.Reason = s.clock.now().Add(wait), why.Error()
	return again(wait), s.ledger.put(ctx, e)
}

// postpone leaves a job for later. It bounds the pause to the time for which
// the ledger keeps an unchanged entry.
func (s *Service) postpone(ctx context.Context, e *entry, wait time.Duration) (verdict, error) {
	wait = min(wait, s.config.Keep/2)
	if err := s.ledger.put(ctx, e); err != nil {
		return left, err
	}
	return again(wait), nil
}

// begin enters this worker as the runner of the job.
func (s *Service) begin(ctx context.Context, e *entry) error {
	st := &e.status
	if st.Attempts == 0 && st.Began.IsZero() {
		st.Began = s.config.Applied()
	}
	st.State, st.Worker, st.RetryAt, st.Reason = subjects.JobRunning, s.config.Name, time.Time{}, ""
	st.Attempts++
	return s.ledger.put(ctx, e)
}

// end enters the last state of a job.
func (s *Service) end(ctx context.Context, e *entry, state subjects.JobState, reason string) (verdict, error) {
	e.status.State, e.status.Reason = state, reason
	e.status.Cancelling, e.status.RetryAt = false, time.Time{}
	if err := s.ledger.put(ctx, e); err != nil {
		return left, err
	}
	return settled, nil
}

// bury gives a job up. It writes the dead letter first: if the worker stops in
// between, the job is delivered again, and the next letter replaces this one.
func (s *Service) bury(ctx context.Context, e *entry, p *posting, reason string, withBody bool) (verdict, error) {
	st := &e.status
	st.State, st.Reason, st.Dead = subjects.JobFailed, reason, true
	st.Cancelling, st.RetryAt = false, time.Time{}
	letter := &subjects.DeadJob{Status: *st}
	if withBody {
		letter.Body = p.body
	}
	if err := s.letters.put(ctx, letter, int(s.config.Conn.MaxPayload())); err != nil {
		return left, err
	}
	v, err := s.end(ctx, e, st.State, st.Reason)
	if err == nil {
		s.config.Logger.Warn("a job was given up", "job", p.Target, "command", p.command, "attempts", st.Attempts, "reason", reason)
	}
	return v, err
}

// erase overwrites a message in the queue that may hold values in clear.
func (s *Service) erase(subject string, seq uint64) {
	ctx, cancel := context.WithTimeout(s.running, apiTimeout)
	defer cancel()
	err := s.queue.SecureDeleteMsg(ctx, seq)
	if err == nil {
		return
	}
	if _, there := s.queue.GetMsg(ctx, seq); errors.Is(there, jetstream.ErrMsgNotFound) {
		return // it was erased before
	}
	s.config.Logger.Error("a message that may hold values in clear could not be erased from the queue", "subject", subject, "error", err)
}
