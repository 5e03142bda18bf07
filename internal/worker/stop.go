package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Close takes no more requests, answers those it has, and stops (see package
// lifecycle). Requests and jobs get the time that ctx leaves minus one second,
// or half of it if that is more. Close abandons those that take longer, and
// returns an error.
func (w *Worker) Close(ctx context.Context) error { return w.life.Close(ctx, w.stop) }

// CloseGrace is the time that the serving parts leave to the parts below them. A Close with
// less time may leave the embedded server open, and not announce its end to other replicas.
const CloseGrace = time.Second

// leave announces the end of this replica, so that writes of others need not
// wait for its lease.
func (w *Worker) leave(ctx context.Context) {
	ctx, cancel := half(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := w.replica.Leave(ctx); err != nil {
		w.logger.Debug("the end of this replica could not be announced, so writes of others wait for its lease", "error", err)
	}
}

// stopServing waits for running requests and jobs, both at the same time.
func (w *Worker) stopServing(ctx context.Context) error {
	if left, bounded := timeLeft(ctx); bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(left-CloseGrace, left/2))
		defer cancel()
	}
	var jobs, requests error
	var serving sync.WaitGroup
	if w.jobs != nil {
		serving.Go(func() {
			if jobs = w.jobs.Close(ctx); jobs != nil {
				jobs = fmt.Errorf("jobs, which other workers continue: %w", jobs)
			}
		})
	}
	if w.handler != nil {
		if requests = w.handler.Close(ctx); requests != nil {
			requests = fmt.Errorf("requests: %w", requests)
		}
	}
	serving.Wait()
	return errors.Join(requests, jobs)
}

// timeLeft returns how much time ctx leaves, if it has a deadline.
func timeLeft(ctx context.Context) (left time.Duration, bounded bool) {
	deadline, bounded := ctx.Deadline()
	if ctx.Err() != nil {
		return 0, true
	}
	return time.Until(deadline), bounded
}

// stop closes the parts, each before the parts that it needs.
func (w *Worker) stop(ctx context.Context) error {
	w.stopping.Store(true)
	var errs []error
	errs = append(errs, w.stopServing(ctx))
	if w.audit != nil {
		errs = append(errs, w.closeAudit(ctx)) // it has the last records now
	}
	if left, bounded := timeLeft(ctx); bounded && left < CloseGrace {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), CloseGrace)
		defer cancel()
	}
	w.following.Stop()
	if w.replica != nil {
		w.leave(ctx) // no part announces anything after this
	}
	if w.store != nil {
		errs = append(errs, w.closeStores(ctx))
	}
	if w.conn != nil {
		w.conn.Close()
	}
	if w.cache != nil {
		w.cache.Close()
	}
	if w.known != nil {
		w.known.Close()
	}
	if w.server != nil {
		errs = append(errs, w.server.Close(ctx))
	}
	if w.health != nil {
		errs = append(errs, w.health.Close(ctx))
	}
	return errors.Join(errs...)
}
