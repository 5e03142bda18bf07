package jobs

import (
	"context"

	"credbus/internal/audit"
	"credbus/subjects"
)

// announce records that items begin, if no item may be carried out without a record.
func (a *attempt) announce(ctx context.Context, indices []int) error {
	log := a.s.config.Audit
	if !log.Required(a.p.command) {
		return nil
	}
	entries := make([]audit.Entry, len(indices))
	for n, i := range indices {
		target, _ := a.items.resolve(i) // settleRefused has those with an error
		entries[n] = a.auditEntry(target, audit.Begun)
	}
	return log.Put(ctx, entries...)
}

// note records the outcome of an attempt at an item.
func (a *attempt) note(came outcome) {
	log := a.s.config.Audit
	if !log.Wants(a.p.command) {
		return
	}
	entry := a.auditEntry(came.result.Target, audit.OK)
	entry.Version, entry.Revision = came.result.Version, came.reached
	if err := came.result.Err; err != nil {
		entry.Outcome, entry.Unknown = string(err.Code), err.OutcomeUnknown
	}
	log.Note(entry)
}

// auditEntry names the job as the one who asks: its submitter is in the record of the job itself.
func (a *attempt) auditEntry(target subjects.Target, outcome string) audit.Entry {
	return audit.Entry{
		Command: a.p.command, Target: target, Outcome: outcome, Job: a.p.Target.String(),
		Caller: audit.Caller{Authority: a.p.Scope},
	}
}
