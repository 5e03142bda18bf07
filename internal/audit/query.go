package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"credbus/subjects"
)

// Filter selects records. Empty fields select all.
type Filter struct {
	Scope   subjects.Scope // and all scopes below it
	ID      string
	Who     string // the account, the user, both as account/user, or the authority
	Command string
	Outcome string // or "failed", for all but OK and Begun
	Version string
	Since   time.Time
	Until   time.Time
}

// Failed is the outcome in a Filter that selects all failures.
const Failed = "failed"

// Check refuses a filter that no record can match, since a command or outcome does not exist.
func (f *Filter) Check() error {
	if f.Outcome != "" && !slices.Contains([]string{OK, Begun, Failed}, f.Outcome) && !subjects.Code(f.Outcome).Known() {
		return fmt.Errorf("%q is no outcome: they are ok, begun, failed, and the codes of errors, such as not_found", f.Outcome)
	}
	job, isJob := strings.CutPrefix(f.Command, JobPrefix)
	switch {
	case f.Command == "", slices.Contains([]string{Started, Stopped, Lost}, f.Command):
	case isJob && slices.Contains(subjects.JobCommands, subjects.Command(job)):
	case slices.Contains(subjects.Commands, subjects.Command(f.Command)), slices.Contains(subjects.AdminCommands, subjects.Command(f.Command)):
	default:
		return fmt.Errorf("%q is no command of a record: they are those of the protocol, job.store_batch and the like, audit_start, audit_stop and audit_lost", f.Command)
	}
	return nil
}

// Match reports whether a record is selected.
func (f *Filter) Match(r *Record) bool {
	switch {
	case f.Scope != subjects.Root && !f.Scope.Contains(subjects.Scope(r.Scope)):
	case f.ID != "" && f.ID != r.ID:
	case f.Who != "" && !r.by(f.Who):
	case f.Command != "" && f.Command != r.Command:
	case f.Outcome == Failed && (r.Outcome == OK || r.Outcome == Begun):
	case f.Outcome != "" && f.Outcome != Failed && f.Outcome != r.Outcome:
	case f.Version != "" && f.Version != r.Version:
	case !f.Since.IsZero() && r.Time.Before(f.Since):
	case !f.Until.IsZero() && !r.Time.Before(f.Until):
	default:
		return true
	}
	return false
}

func (r *Record) by(who string) bool {
	return who == r.Account || who == r.User || who == r.Authority || r.User != "" && who == r.Account+"/"+r.User
}

// Who names the caller in one text: account and user if NATS told them, and the scope that the
// caller may act at otherwise.
func (r *Record) Who() string {
	switch {
	case r.User != "":
		return r.Account + "/" + r.User
	case r.Account != "":
		return r.Account
	case r.Authority != "":
		return r.Authority
	case strings.HasPrefix(r.Command, "audit_"):
		return "the worker"
	}
	return "root"
}

// Retrieved reports whether the record says that somebody got the values of a credential.
func (r *Record) Retrieved() bool {
	return r.Outcome == OK && (r.Command == string(subjects.Retrieve) || r.Command == string(subjects.RetrieveBatch))
}
