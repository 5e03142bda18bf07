package jobs

import (
	"cmp"
	"context"

	"golang.org/x/sync/errgroup"

	"credbus/internal/manager"
	"credbus/subjects"
)

// damaged stands for the version of a record that cannot be read.
const damaged = "damaged"

// noteVersions notes, before anything is deleted, which of the credentials are
// there, so that after a crash what is gone by this job is told from what never
// was.
func (a *attempt) noteVersions(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(a.s.config.ItemConcurrency)
	for i := range a.entry.status.Results {
		result := &a.entry.status.Results[i]
		if !result.Pending || result.Version != "" {
			continue
		}
		group.Go(func() error {
			standing, err := a.s.config.Manager.Standing(ctx, result.Target)
			switch {
			case err != nil:
				result.Err = a.explain(err, result.Target)
				result.Pending = result.Err.Retryable
			case standing.Exists:
				result.Version = cmp.Or(standing.Version, damaged)
			default:
				a.unsure[i] = false // it is tried, and says how it is
			}
			return nil
		})
	}
	_ = group.Wait() // errors are results
}

// resume says what came of an item that an earlier run may have carried out, if
// that can be told, or must not be tried again. The store knows, unless somebody
// else changed the credential since.
func (a *attempt) resume(ctx context.Context, i int) (outcome, bool) {
	a.mu.Lock()
	before := a.entry.status.Results[i]
	began := a.entry.status.Began
	a.mu.Unlock()
	// What was announced last is asked for before what stands there: the earlier run may
	// not be over, and a write that it makes between the two is none of others.
	last, err := a.s.config.Last(ctx, before.Target)
	if err != nil {
		return a.unknown(before, err), true
	}
	standing, err := a.s.config.Manager.Standing(ctx, before.Target)
	if err != nil {
		return a.unknown(before, err), true
	}
	done := outcome{result: subjects.JobResult{Target: before.Target}, reached: standing.Reached}
	switch {
	case a.p.command.CarriesValues() && standing.Exists && standing.WriteID == manager.ItemRequestID(a.requestID(i), 0):
		done.result.Version = standing.Version
		return done, true
	case a.p.command == subjects.DeleteBatch && !standing.Exists && before.Version != "":
		return done, true
	case a.p.command == subjects.DeleteBatch && standing.Exists && cmp.Or(standing.Version, damaged) == before.Version:
		return outcome{}, false // it is what it was before
	case standing.Exists && standing.Revision.Compare(began) > 0, last.Compare(began) > 0:
		return changedSince(before), true
	}
	return outcome{}, false
}

// lookUp enters what an earlier run of a job that is not to be gone on with may have
// carried out, so that its results say what was done. What cannot be told now stays
// pending.
func (s *Service) lookUp(ctx context.Context, e *entry, p *posting, c *content) {
	if !p.command.Writes() || c == nil || c.items == nil || len(e.status.Results) != c.items.len() {
		return
	}
	a := &attempt{s: s, p: p, items: c.items, entry: e, writes: writesOf(&e.status)}
	a.settleRefused()
	for i := range e.status.Results {
		result := &e.status.Results[i]
		if !result.Pending || result.Err != nil && !result.Err.OutcomeUnknown {
			continue // it is known, or was not carried out
		}
		if known, ok := a.resume(ctx, i); ok {
			a.record(i, known)
		}
	}
	e.status.Count()
}

// wasDeleted reports whether an item that an earlier run may still be at, and that is
// not there to be deleted, was there before the job.
func (a *attempt) wasDeleted(i int, came outcome) bool {
	if a.p.command != subjects.DeleteBatch || !a.unsure[i] || came.result.Err == nil || came.result.Err.Code != subjects.NotFound {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.entry.status.Results[i].Version != ""
}

// unknown is the outcome of an item of which it cannot be told now what came of it.
func (a *attempt) unknown(before subjects.JobResult, err error) outcome {
	told := a.explain(err, before.Target)
	told.Retryable = true
	told.MarkOutcomeUnknown()
	return outcome{result: subjects.JobResult{Target: before.Target, Err: told}}
}

// changedSince is the outcome of an item that nobody can tell the outcome of: it
// may have been carried out and overwritten, and must not overwrite what is newer.
func changedSince(before subjects.JobResult) outcome {
	err := subjects.Errorf(subjects.VersionConflict,
		"the worker that ran the job stopped, and the credential was changed by others since: the item was not tried again")
	err.Scope, err.ID, err.OutcomeUnknown = before.Scope, before.ID, true
	return outcome{result: subjects.JobResult{Target: before.Target, Err: err}, final: true}
}
