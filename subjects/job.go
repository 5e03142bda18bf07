package subjects

import "time"

// MaxBatchIDLen bounds the name of a batch whose jobs are called after it, MaxJobIDLen
// the id of any job, in bytes.
const (
	MaxBatchIDLen = 40
	MaxJobIDLen   = 56
)

// Job is the body of a job: a command for credentials that a worker carries out
// once, some time later. The body has the fields of the command's batch request
// beside these, above all its items; or, in place of them, Sealed or All. The
// items of a job that stores have to be sealed, since the servers keep the body
// on disk.
type Job struct {
	// ID names the job in its scope, and what is published again under the same
	// ID is not done again. Where the job's subject ends with it, it need not stand
	// here.
	ID ID `wire:"job,read=jobID"`
	// Batch names the jobs that were submitted as one, the ID if there is only one.
	Batch ID `wire:"batch,read=jobID"`
	// Parts is how many jobs the batch has, at least 1.
	Parts int `wire:"parts"`
	// NotBefore is when the job may be begun, ExpiresAt when it may be no longer.
	// Zero: any time.
	NotBefore time.Time `wire:"not_before"`
	ExpiresAt time.Time `wire:"expires_at"`
	// Submitted is when the job was made, by the workers' time (SealKeyReply.Now). A
	// sealed job has it beside its items: workers take none that is older than what
	// they remember, so that nobody can publish an old one again.
	Submitted time.Time `wire:"submitted"`
	// All selects the credentials of the job's scope, and of all below it, that
	// match Filter.
	All bool `wire:"all"`
	Filter
	// Sealed is the whole job as it would be in clear, sealed to the workers' key that
	// SealedTo names. What stands beside it must be the same as what is sealed.
	Sealed   []byte `wire:"sealed"`
	SealedTo string `wire:"sealed_to"`
}

// JobOf joins a job with the batch request whose items it carries in clear.
type JobOf[T any, P Item[T]] struct {
	Job
	Request BatchRequest[T, P] `wire:",inline"`
}

// The jobs of each command.
type (
	StoreJob    = JobOf[StoreItem, *StoreItem]
	PatchJob    = JobOf[PatchItem, *PatchItem]
	RetrieveJob = JobOf[RetrieveItem, *RetrieveItem]
	DeleteJob   = JobOf[DeleteItem, *DeleteItem]
	ValidateJob = JobOf[Target, *Target]
)

// JobState is how far a job has come.
type JobState string

// The states of a job.
const (
	// JobAccepted is a job that is kept and not begun.
	JobAccepted JobState = "accepted"
	// JobRunning is one that was begun. Between two attempts RetryAt says when
	// the next one is.
	JobRunning JobState = "running"
	// JobDone is one with an outcome of each item, a failure or not.
	JobDone JobState = "done"
	// JobFailed is one that ended before it was done; Reason says why.
	JobFailed JobState = "failed"
	// JobCancelled is one that was told to end before it was done.
	JobCancelled JobState = "cancelled"
)

// Ended reports whether a state is a job's last.
func (s JobState) Ended() bool { return s == JobDone || s == JobFailed || s == JobCancelled }

// JobStatus says how far a job has come. It is published at every change, and
// kept for a day after the last one.
type JobStatus struct {
	Target    // the job's own scope and ID
	Batch  ID `wire:"batch,read=jobID"`
	// Parts is how many jobs the batch has. That of a job with Job.All grows while
	// it makes jobs of what it finds.
	Parts   int      `wire:"parts"`
	Command Command  `wire:"command"`
	State   JobState `wire:"state"`
	Reason  string   `wire:"reason,max=8*maxTextLen"` // of JobFailed, and why an attempt is to be repeated

	// Of Items, so many Succeeded and so many Failed; the others have no outcome.
	Items     int `wire:"items"`
	Succeeded int `wire:"succeeded"`
	Failed    int `wire:"failed"`

	// Of those that Succeeded in validating, so many were found Expired, NotFound or
	// Malformed, and so many valid with rotation due.
	Expired     int `wire:"expired"`
	NotFound    int `wire:"not_found"`
	Malformed   int `wire:"malformed"`
	RotationDue int `wire:"rotation_due"`

	// Attempts is how often the job was begun.
	Attempts int `wire:"attempts"`
	// Conflicts is how many other jobs came under this one's name and were refused:
	// those of another command or with other items.
	Conflicts int       `wire:"conflicts"`
	Submitted time.Time `wire:"submitted"`
	NotBefore time.Time `wire:"not_before"`
	ExpiresAt time.Time `wire:"expires_at"`
	RetryAt   time.Time `wire:"retry_at"`
	Updated   time.Time `wire:"updated"` // by the clock of the NATS servers, as all times of a status
	Worker    string    `wire:"worker"`  // the one that runs it, or ran it last
	// Cancelling is set when the job was told to end and has not yet.
	Cancelling bool `wire:"cancelling"`
	// Dead is set when the job is kept among the dead letters, to be retried or
	// dropped.
	Dead bool `wire:"dead"`
	// Content is a keyed digest of the command and the items, which only workers can
	// compute. It is empty where nothing could be read.
	Content string `wire:"content"`

	// Began is the revision that was reached when the job was first begun.
	Began Revision `wire:"began"`
	// Reached is a revision whose readers see all that the job has written.
	Reached Revision `wire:"reached"`
	// Cursor is where a job with Job.All goes on.
	Cursor string `wire:"cursor,max=MaxCursorLen"`
	// Results has one for each item, in order. A list of jobs has none.
	Results []JobResult `wire:"results,max=MaxBatchItems"`
}

// Count sets Succeeded and Failed, and the counts of what validating found, from the
// results.
func (s *JobStatus) Count() {
	s.Succeeded, s.Failed = 0, 0
	s.Expired, s.NotFound, s.Malformed, s.RotationDue = 0, 0, 0, 0
	for i := range s.Results {
		result := &s.Results[i]
		switch {
		case result.Pending:
			continue
		case result.Err != nil:
			s.Failed++
			continue
		}
		s.Succeeded++
		switch {
		case result.Status == Expired:
			s.Expired++
		case result.Status == Missing:
			s.NotFound++
		case result.Status == Malformed:
			s.Malformed++
		case result.RotationDue:
			s.RotationDue++
		}
	}
}

// JobResult is the outcome of one item of a job.
type JobResult struct {
	Target
	// Pending is set while there is none; Err is then why the last attempt at it
	// failed, and is to be repeated.
	Pending bool `wire:"pending"`
	// Version is that of what was stored, retrieved or validated, and of what is
	// about to be deleted.
	Version string `wire:"version"`

	// Of a validation, as in ValidateReply.
	Status      Status    `wire:"status"`
	Expires     time.Time `wire:"expires"`
	RotationDue bool      `wire:"rotation_due"`
	Reason      string    `wire:"reason"`

	Err *Error `wire:"error"`
}

// DeadJob is a dead letter: a job that was given up. Only workers see it.
type DeadJob struct {
	Status JobStatus `wire:"status,always"`
	// Body is what was published, unless it may not be kept: one that cannot be read
	// or has values in clear is not.
	Body []byte `wire:"body,clone"`
}

// JobRequest asks about one job, or for something to be done with it.
type JobRequest struct {
	Envelope
	Target // the job's
}

// JobShowRequest asks about one job. With Posted, the body that was published as a
// job of Command, it also asks whether that is the job of this name: the answer to
// another one is AlreadyExists.
type JobShowRequest struct {
	JobRequest
	Command Command `wire:"command"`
	Posted  []byte  `wire:"posted"`
}

// JobReply is how the job stands.
type JobReply struct {
	JobStatus
	Revision Revision `wire:"revision,reply"`
}

// JobListRequest asks for a page of the jobs of a scope and all below it. All
// filters that are set must match.
type JobListRequest struct {
	Envelope
	Scope Scope    `wire:"scope"`
	State JobState `wire:"state,read=jobState"`
	Batch ID       `wire:"batch,read=jobID"`
	// Dead asks for the dead letters, which are kept for longer than what else is
	// known of a job.
	Dead bool `wire:"dead"`
	Paging
}

// JobListReply is a page of jobs, without results. One that changes while they are
// paged through may stand on two pages.
type JobListReply struct {
	Jobs     []JobStatus `wire:"jobs,always,max=MaxListItems"`
	Cursor   string      `wire:"cursor,max=MaxCursorLen"` // "" on the last page
	Revision Revision    `wire:"revision,reply"`
}

// SealKeyRequest asks for the key that bodies are sealed to.
type SealKeyRequest struct{ Envelope }

// SealKeyReply is the workers' public key: that of HPKE (RFC 9180) with ML-KEM-768 and
// X25519, HKDF-SHA256 and AES-256-GCM.
type SealKeyReply struct {
	KeyID string `wire:"key_id"`
	Key   []byte `wire:"key,clone"`
	// Now is the time by which jobs are judged, that of the NATS servers.
	Now time.Time `wire:"now"`
	// MaxDelay is how far ahead a job's NotBefore may be, in whole seconds.
	MaxDelay time.Duration `wire:"max_delay,seconds"`
	Revision Revision      `wire:"revision,reply"`
}
