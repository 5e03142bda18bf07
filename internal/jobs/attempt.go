package jobs

import (
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

// checkpointEvery is the interval between checkpoints. If a worker stops,
// another one may have to look up the work of one interval.
const checkpointEvery = time.Second

// readChunk is how many items of a reading job the manager gets in one call:
// AWS reads 20 at a time.
const readChunk = 20

// attempt is one run of a job by this worker.
type attempt struct {
	s     *Service
	p     *posting
	items items
	// number counts the attempts at the job, this one included.
	number int
	// writes begins the names of the writes of its items.
	writes string
	// unsure marks the items that an earlier run may have carried out.
	unsure []bool

	// stop ends when no further item may begin.
	stop     context.Context
	stopping context.CancelFunc

	mu      sync.Mutex
	entry   *entry // of the ledger; only checkpoint moves its place
	changed bool   // since the last checkpoint
	lost    bool   // another worker has the job
}

// runItems carries out the part of a job that is not done yet.
func (s *Service) runItems(ctx context.Context, e *entry, p *posting, items items) (verdict, error) {
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

// prepare makes the list of results on the first attempt. Later it finds the
// items that an earlier attempt may have carried out: all pending ones, except
// those recorded as not carried out. An item that the job may not touch gets
// its outcome first, so that nothing looks up the credential that it names.
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
			target, _ := a.items.resolve(i) // zero on an error, which settleRefused enters
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

// settleRefused gives an outcome to the pending items that the job may not
// touch. It does not matter whether an earlier run had a credential for such an
// item.
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
			a.note(outcome{result: *result})
		}
	}
}

// pending returns the indices of the items without an outcome.
func (a *attempt) pending() (indices []int) {
	for i := range a.entry.status.Results {
		if result := &a.entry.status.Results[i]; result.Pending && result.Err == nil {
			indices = append(indices, i)
		}
	}
	return indices
}

// work carries out the pending items, until stop ends.
func (a *attempt) work(ctx context.Context) {
	checkpoints, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { a.checkpoints(checkpoints) })
	defer background.Wait()
	defer stop()

	// The manager works on several items of a chunk at once.
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
	if err := a.announce(ctx, indices); err != nil {
		for _, i := range indices {
			a.record(i, outcome{result: subjects.JobResult{Target: a.items.named(i), Err: a.explain(err, a.items.named(i))}})
		}
		return
	}
	for n, came := range a.items.do(ctx, indices, a.requestID(indices[0])) {
		if a.wasDeleted(indices[n], came) {
			came.result.Err = nil
		}
		a.record(indices[n], came)
	}
}

// requestID names the write of one item. The suffix -0 has no meaning. It stays
// because earlier releases wrote it, and their jobs may be resumed.
func (a *attempt) requestID(i int) string { return a.writes + "-" + strconv.Itoa(i) + "-0" }

// writesOf returns the beginning of the names of a job's writes, the same in
// all its attempts. A store takes a second write of one name for a repetition
// of the first. So no other job may use it: neither a job of the same name in
// another scope, nor one submitted after this one is forgotten.
func writesOf(st *subjects.JobStatus) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", st.Target, st.Submitted.UnixMilli()))
	return "job-" + hex.EncodeToString(sum[:16])
}

// record stores the outcome of an item. An item whose outcome may differ next
// time stays pending.
func (a *attempt) record(i int, came outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := &a.entry.status
	before := &st.Results[i]
	if err := came.result.Err; err != nil {
		if came.result.Pending = err.Retryable || err.OutcomeUnknown && !came.final; came.result.Pending {
			came.result.Version = before.Version // the version that is about to be deleted
		}
		// No client has a request that it could send again.
		if message, cut := strings.CutSuffix(err.Message, subjects.UnknownOutcomeRule); cut {
			err.Message = message + "; the write may have taken effect; the next attempt finds out"
		}
	}
	*before = came.result
	a.note(came)
	if came.reached.Compare(st.Reached) > 0 {
		st.Reached = came.reached
	}
	a.changed = true
}

// checkpoints enters finished work into the ledger every checkpointEvery.
func (a *attempt) checkpoints(ctx context.Context) {
	ticker := time.NewTicker(checkpointEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := a.checkpoint(ctx); err != nil && ctx.Err() == nil {
				a.s.config.Logger.Debug("the progress of a job could not be entered", "job", a.p.Target, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// checkpoint enters finished work, if there is any since the last checkpoint.
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

// reconcile finds out who changed the entry: a caller who cancels the job, or
// another worker that took it.
func (a *attempt) reconcile(ctx context.Context) error {
	there, err := a.s.ledger.get(ctx, a.p.Target)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	st := &there.status
	if a.lost = st.State != subjects.JobRunning || st.Worker != a.s.config.Name || st.Attempts != a.number; a.lost {
		// The place in the ledger stays as it was, so that this attempt cannot
		// enter anything after the other worker's state.
		a.stopping()
		return nil
	}
	a.entry.seq = there.seq
	if st.Cancelling {
		a.entry.status.Cancelling = true
		a.stopping()
	}
	return nil // or this attempt changed it, and the answer got lost
}

// watch stops the attempt as soon as the ledger says so, without waiting for
// the next checkpoint.
func (a *attempt) watch() (stop func()) {
	sub, err := a.s.config.Conn.Subscribe(a.s.config.Prefix.JobStatus(a.p.Scope, a.p.ID), func(msg *nats.Msg) {
		var told subjects.JobStatus
		if subjects.Decode(msg.Data, &told) == nil && (told.Cancelling || told.Worker != a.s.config.Name || told.Attempts > a.number) {
			a.mu.Lock()
			a.changed = true // so that checkpoint reads the entry
			a.mu.Unlock()
			a.stopping()
		}
	})
	if err != nil {
		return func() {} // the next checkpoint finds out
	}
	return func() { _ = sub.Unsubscribe() }
}

// explain turns an error into the one that the submitter sees for an item.
func (a *attempt) explain(err error, target subjects.Target) *subjects.Error {
	told, detail := manager.Explain(err, target)
	if detail {
		a.s.config.Logger.Error("an item of a job failed", "job", a.p.Target, "scope", target.Scope, "id", target.ID, "code", told.Code, "error", err)
	}
	told.Revision = subjects.Revision{}
	return told
}
