package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"credbus/subjects"
)

// statusBuffer is how many statuses may wait for the loop that reads them. Each has
// the results of its items. The client asks for those that do not fit.
const statusBuffer = 256

// Watch follows a submission: it yields its status at once and after every change, and ends
// after the status in which every job has ended. It asks again for statuses that were
// lost, at most 10 s later.
//
// The loop ends without an error when ctx ends, and with one when the client closes,
// the connection is closed, or NATS refuses the subject. It can be run once; leaving
// it unsubscribes, as does the end of ctx.
func (b *Submission) Watch(ctx context.Context) (iter.Seq2[SubmissionStatus, error], error) {
	f, err := b.follow(ctx)
	if err != nil {
		return nil, err
	}
	stop, heard, err := b.c.listen(ctx, b.c.prefix.JobStatus(b.Scope, "*"), statusBuffer)
	if err != nil {
		return nil, err
	}
	if err := f.poll(ctx); err != nil {
		stop()
		return nil, err
	}
	return func(yield func(SubmissionStatus, error) bool) {
		defer stop()
		f.run(heard, yield)
	}, nil
}

func (f *following) run(heard *subscription, yield func(SubmissionStatus, error) bool) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	settled := false // missing jobs were asked for after the others had ended
	for changed := true; heard.ctx.Err() == nil; changed = false {
		ask := false
		if !changed {
			changed, ask = f.hear(heard, ticker.C)
		}
		if len(f.ended) > 0 {
			news, err := f.confirm(heard.ctx)
			if f.fails(heard, err) {
				yield(SubmissionStatus{}, err)
				return
			}
			changed = changed || news
		}
		status := f.status()
		if ask || status.Ended() && status.Missing > 0 && !settled {
			settled = status.Ended()
			if f.c.nc.IsClosed() {
				yield(SubmissionStatus{}, errConnectionClosed)
				return
			}
			if err := f.poll(heard.ctx); f.fails(heard, err) {
				yield(SubmissionStatus{}, err)
				return
			}
			status = f.status()
			changed = true
		}
		if changed && heard.ctx.Err() == nil && !yield(status, nil) {
			return
		}
		if status.Ended() && (status.Missing == 0 || settled) {
			return
		}
	}
	if err := heard.interrupted(); err != nil {
		yield(SubmissionStatus{}, err)
	}
}

// fails reports whether the error of a question ends the watch. If it may pass, the
// client asks again next time.
func (f *following) fails(heard *subscription, err error) bool {
	return err != nil && heard.ctx.Err() == nil && !passing(err) && !errors.Is(err, context.DeadlineExceeded)
}

// hear waits for news, or until it is time for confirm, and takes all statuses that have
// come. ask is set if some may be lost.
func (f *following) hear(heard *subscription, tick <-chan time.Time) (changed, ask bool) {
	var confirm <-chan time.Time
	if len(f.ended) > 0 {
		confirm = time.After(confirmEvery)
	}
	select {
	case <-heard.ctx.Done():
	case <-confirm:
	case <-tick:
		ask = true
	case <-heard.statuses:
		ask = true
	case msg := <-heard.messages:
		for {
			var job JobStatus
			if subjects.Decode(msg.Data, &job) == nil && f.heard(&job) {
				changed = true
			}
			select {
			case msg = <-heard.messages:
				continue
			default:
			}
			return changed, heard.hasDropped()
		}
	}
	return changed, ask
}
