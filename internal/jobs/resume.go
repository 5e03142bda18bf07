package jobs

import (
	"cmp"
	"context"

	"golang.org/x/sync/errgroup"

	"credbus/subjects"
)

// damaged stands for the version of a record that cannot be read.
const damaged = "damaged"

// noteVersions notes which credentials exist before the job deletes any. After
// a crash, this tells credentials that the job deleted from those that never
// existed.
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
				a.unsure[i] = false // the item is tried, and reports the error itself
			}
			return nil
		})
	}
	_ = group.Wait() // errors are results
}

// resume returns the outcome of an item that an earlier run may have carried
// out. It reports false if the item must be tried. The store shows the outcome,
// unless somebody else changed the credential since.
func (a *attempt) resume(ctx context.Context, i int) (outcome, bool) {
	a.mu.Lock()
	before := a.entry.status.Results[i]
	began := a.entry.status.Began
	a.mu.Unlock()
	// Ask for the last announced change before reading the store. The earlier
	// run may still be working, and its write between the two must not look
	// like one by others.
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
	case a.p.command.CarriesValues() && standing.Exists && standing.WriteID == a.requestID(i):
		done.result.Version = standing.Version
		return done, true
	case a.p.command == subjects.DeleteBatch && !standing.Exists && before.Version != "":
		return done, true
	case a.p.command == subjects.DeleteBatch && standing.Exists && cmp.Or(standing.Version, damaged) == before.Version:
		return outcome{}, false // it is as it was before the job
	case standing.Exists && standing.Revision.Compare(began) > 0, last.Compare(began) > 0:
		return changedSince(before), true
	}
	return outcome{}, false
}

// lookUp finds out what earlier runs have carried out of a job that will not
// continue, and enters it in the results. An item whose outcome is unknown now
// stays pending.
func (s *Service) lookUp(ctx context.Context, e *entry, p *posting, c *content) {
	if !p.command.Writes() || c == nil || c.items == nil || len(e.status.Results) != c.items.len() {
		return
	}
	a := &attempt{s: s, p: p, items: c.items, entry: e, writes: writesOf(&e.status)}
	a.settleRefused()
	for i := range e.status.Results {
		result := &e.status.Results[i]
		if !result.Pending || result.Err != nil && !result.Err.OutcomeUnknown {
			continue // its outcome is known, or it was not carried out
		}
		if known, ok := a.resume(ctx, i); ok {
			a.record(i, known)
		}
	}
	e.status.Count()
}

// wasDeleted reports whether the credential of an item existed before the job
// and does not now. An earlier run may have deleted it, even just now.
func (a *attempt) wasDeleted(i int, came outcome) bool {
	if a.p.command != subjects.DeleteBatch || !a.unsure[i] || came.result.Err == nil || came.result.Err.Code != subjects.NotFound {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.entry.status.Results[i].Version != ""
}

// unknown is the outcome of an item whose effect cannot be found out now.
func (a *attempt) unknown(before subjects.JobResult, err error) outcome {
	told := a.explain(err, before.Target)
	told.Retryable = true
	told.MarkOutcomeUnknown()
	return outcome{result: subjects.JobResult{Target: before.Target, Err: told}}
}

// changedSince is the outcome of an item whose effect will stay unknown: it may
// have been carried out and overwritten. A new try must not overwrite newer
// state.
func changedSince(before subjects.JobResult) outcome {
	err := subjects.Errorf(subjects.VersionConflict,
		"the worker that ran the job stopped, and others have changed the credential since; the item was not tried again: read the credential, and submit the item again if needed")
	err.Scope, err.ID, err.OutcomeUnknown = before.Scope, before.ID, true
	return outcome{result: subjects.JobResult{Target: before.Target, Err: err}, final: true}
}
