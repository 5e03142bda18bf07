package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"credbus/internal/manager"
	"credbus/subjects"
)

// checkpointEvery is how much of the work on a job others may have to look up when
// its worker stops.
const checkpointEvery = time.Second

// readChunk is how many items of a job that only reads are handed to the manager
// together: AWS reads so many in one call.
const readChunk = 20

// attempt is one run of a job by this worker.
type attempt struct {
	s     *Service
	p     *posting
	items batch
	// number is which attempt at the job it is.
	number int
	// writes is what the writes of its items are named after.
	writes string
	// unsure are the items that an earlier run may have carried out.
	unsure []bool

	// stop ends when no further item is to be begun.
	stop     context.Context
	stopping context.CancelFunc

	mu      sync.Mutex
	entry   *entry // of the ledger; only checkpoint moves its place
	changed bool   // since the last checkpoint
	lost    bool   // another worker has the job
}

// runItems carries out what is not done yet of a job.
func (s *Service) runItems(ctx context.Context, e *entry, p *posting, items batch) (verdict, error) {
	a := &attempt{s: s, p: p, items: items, entry: e}
	if err := a.prepare(ctx); err != nil {
		return left, err
	}
	if err := s.begin(ctx, e); err != nil {
		return left, err
	}
	a.number = e.status.Attempts
	a.writes = writesOf(&e.status)
	a.stop, a.stopping = context.WithCancel(s.taking)
	defer a.stopping()
	unwatch := a.watch()
	defer unwatch()
	a.work(ctx)
	return a.conclude(ctx)
}

// prepare makes the list of results, on the first attempt, and finds out which
// items an earlier one may have carried out: those of which it does not say that it
// did not. An item that the job may not touch has its outcome before anything else is
// done, so that nothing looks up what it names.
func (a *attempt) prepare(ctx context.Context) error {
	st := &a.entry.status
	n := a.items.len()
	begun := st.Attempts > 0 || !st.Began.IsZero()
	if len(st.Results) != n {
		if len(st.Results) > 0 {
			return fmt.Errorf("the job has %d items and had %d before", n, len(st.Results))
		}
		st.Items, st.Results = n, make([]subjects.JobResult, n)
		for i := range st.Results {
			target, _ := a.items.resolve(i) // none is allowed with an error, which settle enters
			st.Results[i] = subjects.JobResult{Target: target, Pending: true}
		}
	}
	a.settleRefused()
	a.unsure = make([]bool, n)
	for i := range st.Results {
		result := &st.Results[i]
		if result.Pending {
			a.unsure[i] = begun && (result.Err == nil || result.Err.OutcomeUnknown)
			result.Err = nil
		}
	}
	if a.p.command == subjects.DeleteBatch {
		a.noteVersions(ctx)
	}
	return nil
}

// settleRefused gives an outcome to the pending items that the job may not touch. That
// an earlier run had a credential for one counts for nothing.
func (a *attempt) settleRefused() {
	for i := range a.entry.status.Results {
		result := &a.entry.status.Results[i]
		if !result.Pending {
			continue
		}
		target, err := a.items.resolve(i)
		if err == nil && result.Target != target {
			err = subjects.Errorf(subjects.Internal, "the job was begun with another credential in this place: submit it again under another name")
		}
		if err != nil {
			named := a.items.named(i)
			*result = subjects.JobResult{Target: named, Err: a.explain(err, named)}
		}
	}
}

// pending are the indices of the items that have no outcome.
func (a *attempt) pending() (indices []int) {
	for i := range a.entry.status.Results {
		if result := &a.entry.status.Results[i]; result.Pending && result.Err == nil {
			indices = append(indices, i)
		}
	}
	return indices
}

// work carries out the items that are pending, until it is to stop.
func (a *attempt) work(ctx context.Context) {
	checkpoints, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { a.checkpoints(checkpoints) })
	defer background.Wait()
	defer stop()

	// The manager has several items of a chunk under way at once.
	chunk, atOnce := min(readChunk, a.s.config.BatchItems), 1
	if a.p.command.Writes() {
		chunk, atOnce = 1, a.s.config.ItemConcurrency
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for indices := range slices.Chunk(a.pending(), chunk) {
		group.Go(func() error {
			a.s.pace.run(a.stop, func() { a.do(ctx, indices) })
			return nil
		})
	}
	_ = group.Wait() // no item returns an error
}

// do carries out some items.
func (a *attempt) do(ctx context.Context, indices []int) {
	if a.p.command.Writes() && a.unsure[indices[0]] {
		if known, ok := a.resume(ctx, indices[0]); ok {
			a.record(indices[0], known)
			return
		}
	}
	for n, came := range a.items.do(ctx, indices, a.requestID(indices[0])) {
		if a.wasDeleted(indices[n], came) {
			came.result.Err = nil
		}
		a.record(indices[n], came)
	}
}

// requestID names the request that carries out one item, which its write is named
// after.
func (a *attempt) requestID(i int) string { return a.writes + "-" + strconv.Itoa(i) }

// writesOf is what the writes of a job are named after, in all its attempts. A store
// takes a second write of a name for the first one again, so no other job may have
// it: neither one that is called alike in another scope, nor one that comes after
// this one is forgotten.
func writesOf(st *subjects.JobStatus) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", st.Target, st.Submitted.UnixMilli()))
	return "job-" + hex.EncodeToString(sum[:16])
}

// record keeps what came of an item. What may be otherwise the next time stays
// pending.
func (a *attempt) record(i int, came outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := &a.entry.status
	before := &st.Results[i]
	if err := came.result.Err; err != nil {
		if came.result.Pending = err.Retryable || err.OutcomeUnknown && !came.final; came.result.Pending {
			came.result.Version = before.Version // what is about to be deleted
		}
		// Nobody has a request to send again.
		if message, cut := strings.CutSuffix(err.Message, subjects.UnknownOutcomeRule); cut {
			err.Message = message + "; the write may have taken effect, which the next attempt finds out"
		}
	}
	*before = came.result
	if came.reached.Compare(st.Reached) > 0 {
		st.Reached = came.reached
	}
	a.changed = true
}

// checkpoints enters what was done into the ledger, every now and then.
func (a *attempt) checkpoints(ctx context.Context) {
	ticker := time.NewTicker(checkpointEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := a.checkpoint(ctx); err != nil && ctx.Err() == nil {
				a.s.config.Logger.Debug("how far a job has come could not be told", "job", a.p.Target, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// checkpoint enters what was done, if it is news.
func (a *attempt) checkpoint(ctx context.Context) error {
	a.mu.Lock()
	now := *a.entry
	now.status.Results = slices.Clone(now.status.Results)
	changed := a.changed && !a.lost
	a.changed = false
	a.mu.Unlock()
	if !changed {
		return nil
	}
	now.status.Count()
	err := a.s.ledger.put(ctx, &now)
	a.mu.Lock()
	if err != nil {
		a.changed = true
	}
	a.entry.seq = now.seq
	a.mu.Unlock()
	if errors.Is(err, errOvertaken) {
		return a.reconcile(ctx)
	}
	return err
}

// reconcile finds out who changed the entry: somebody who wants the job
// cancelled, or another worker that has it.
func (a *attempt) reconcile(ctx context.Context) error {
	there, err := a.s.ledger.get(ctx, a.p.Target)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	st := &there.status
	if a.lost = st.State != subjects.JobRunning || st.Worker != a.s.config.Name || st.Attempts != a.number; a.lost {
		// Its place stays as it was, so that nothing of this attempt can follow what
		// the other worker has entered.
		a.stopping()
		return nil
	}
	a.entry.seq = there.seq
	if st.Cancelling {
		a.entry.status.Cancelling = true
		a.stopping()
	}
	return nil // or it was this attempt, whose answer got lost
}

// watch stops the attempt when the ledger says that it should, before the next
// checkpoint would find out.
func (a *attempt) watch() (stop func()) {
	sub, err := a.s.config.Conn.Subscribe(a.s.config.Prefix.JobStatus(a.p.Scope, a.p.ID), func(msg *nats.Msg) {
		var told subjects.JobStatus
		if subjects.Decode(msg.Data, &told) == nil && (told.Cancelling || told.Worker != a.s.config.Name || told.Attempts > a.number) {
			a.mu.Lock()
			a.changed = true // so that the checkpoint looks
			a.mu.Unlock()
			a.stopping()
		}
	})
	if err != nil {
		return func() {} // the next checkpoint finds out
	}
	return func() { _ = sub.Unsubscribe() }
}

// conclude enters what the attempt came to.
func (a *attempt) conclude(ctx context.Context) (verdict, error) {
	a.mu.Lock()
	stopped := a.stop.Err() != nil
	a.changed = a.changed || stopped
	a.mu.Unlock()
	if stopped {
		// Why, the ledger says.
		if err := a.checkpoint(ctx); err != nil {
			return left, err
		}
	}
	st := &a.entry.status
	st.Count()
	switch pending := a.stillPending(); {
	case a.lost:
		return left, nil
	case st.Cancelling:
		return a.finish(ctx, subjects.JobCancelled)
	case pending == nil:
		return a.finish(ctx, subjects.JobDone)
	case a.s.taking.Err() != nil:
		return a.handOver(ctx)
	case st.Attempts >= a.s.config.Attempts:
		return a.giveUp(ctx, pending)
	default:
		wait := a.s.backoff(st.Attempts)
		st.RetryAt = a.s.clock.now().Add(wait)
		st.Reason = pending.Error()
		return a.later(ctx, wait)
	}
}

// stillPending is why the first of the items that have no outcome has none.
func (a *attempt) stillPending() *subjects.Error {
	for i := range a.entry.status.Results {
		if result := &a.entry.status.Results[i]; result.Pending {
			return cmp.Or(result.Err, errNotTried)
		}
	}
	return nil
}

// errNotTried is why an item has no outcome that was not begun: it is known that
// nothing was written.
var errNotTried = subjects.Errorf(subjects.StorageUnavailable, "the worker stopped before it came to this item")

// put enters the state of the attempt, unless another worker has the job or
// somebody wants it cancelled.
func (a *attempt) put(ctx context.Context) error {
	for {
		err := a.s.ledger.put(ctx, a.entry)
		if !errors.Is(err, errOvertaken) {
			return err
		}
		if err := a.reconcile(ctx); err != nil {
			return err
		}
		a.mu.Lock()
		stopped := a.lost || a.entry.status.Cancelling
		a.mu.Unlock()
		if stopped {
			return nil
		}
	}
}

// later leaves what is pending to another attempt, unless the ledger says that
// there is to be none.
func (a *attempt) later(ctx context.Context, wait time.Duration) (verdict, error) {
	switch err := a.put(ctx); {
	case err != nil:
		return left, err
	case a.lost:
		return left, nil
	case a.entry.status.Cancelling:
		return a.finish(ctx, subjects.JobCancelled)
	}
	return again(wait), nil
}

// insist enters the last state of the job, also when somebody wants it cancelled at
// the last moment: the wish has come too late.
func (a *attempt) insist(ctx context.Context, enter func() (verdict, error)) (verdict, error) {
	for {
		v, err := enter()
		if !errors.Is(err, errOvertaken) {
			return v, err
		}
		err = a.reconcile(ctx)
		a.mu.Lock()
		lost := a.lost
		a.mu.Unlock()
		if err != nil || lost {
			return left, err
		}
	}
}

func (a *attempt) finish(ctx context.Context, state subjects.JobState) (verdict, error) {
	return a.insist(ctx, func() (verdict, error) { return a.s.end(ctx, a.entry, state, "") })
}

// giveUp buries a job that was tried often enough.
func (a *attempt) giveUp(ctx context.Context, why *subjects.Error) (verdict, error) {
	reason := fmt.Sprintf("given up after %d attempts: %s", a.number, why.Error())
	return a.insist(ctx, func() (verdict, error) { return a.s.bury(ctx, a.entry, a.p, reason, true) })
}

// handOver leaves the rest to another worker, since this one is told to stop. That
// is no attempt which failed.
func (a *attempt) handOver(ctx context.Context) (verdict, error) {
	st := &a.entry.status
	for i := range st.Results {
		if result := &st.Results[i]; result.Pending && result.Err == nil && !a.unsure[i] {
			result.Err = errNotTried
		}
	}
	st.Attempts--
	return a.later(ctx, 0)
}

// explain is what an item's caller is told of an error.
func (a *attempt) explain(err error, target subjects.Target) *subjects.Error {
	told, detail := manager.Explain(err, target)
	if detail {
		a.s.config.Logger.Error("an item of a job failed", "job", a.p.Target, "scope", target.Scope, "id", target.ID, "code", told.Code, "error", err)
	}
	told.Revision = subjects.Revision{}
	return told
}
