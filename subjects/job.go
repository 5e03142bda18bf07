package subjects

import "time"

// MaxSubmissionIDLen bounds the name of a submission whose jobs are named after it. MaxJobIDLen bounds
// the ID of any job. Both are in bytes.
const (
	MaxSubmissionIDLen = 40
	MaxJobIDLen        = 56
)

// Job is the body of a job: a command for credentials that a worker carries out
// once, some time later. The body has the fields of the command's batch request
// beside these, above all its items; or, in place of them, Sealed or All. The
// items of a job that stores have to be sealed, since the servers keep the body
// on disk.
type Job struct {
	// ID names the job in its scope, if the subject does not end with its ID. The same job
	// that is published again under its ID is not done again.
	ID ID `wire:"job,max=MaxJobIDLen,read=jobID"`
	// Submission names the jobs that were submitted as one: the ID, if it is left out.
	Submission ID `wire:"batch,max=MaxJobIDLen,read=jobID"`
	// Parts is how many jobs the submission has, at least 1.
	Parts     int       `wire:"parts"`
	NotBefore time.Time `wire:"not_before"` // when it may be begun: at once, if it is left out
	ExpiresAt time.Time `wire:"expires_at"` // when it may no longer be begun: never, if it is left out
	// Submitted is when the job was made, by the workers' time (SealKeyReply.Now). It is
	// sealed with the items: workers refuse a job that is older than what they remember,
	// so that nobody can publish an old one again.
	Submitted time.Time `wire:"submitted"`
	// All selects the credentials of the job's scope and below that match the filter, in
	// place of items.
	All bool `wire:"all"`
	Filter
	// Sealed is the whole job as it would be in clear, in msgpack, sealed to the key of
	// SealedTo. The fields beside it must be the same as those within.
	Sealed   []byte `wire:"sealed"`
	SealedTo string `wire:"sealed_to"` // SealKeyReply.KeyID
}

// JobOf is the body of a job of one command, with its items in clear.
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
	Target        // the job's own scope and ID
	Submission ID `wire:"batch,max=MaxJobIDLen,read=jobID"`
	// Parts is how many jobs the submission has. It grows while a job with all makes jobs of
	// what it finds.
	Parts   int      `wire:"parts"`
	Command Command  `wire:"command"`
	State   JobState `wire:"state"`
	Reason  string   `wire:"reason,max=8*maxTextLen"` // why the job failed, or why an attempt is repeated

	Items     int `wire:"items"`     // how many the job has
	Succeeded int `wire:"succeeded"` // how many of them were done
	Failed    int `wire:"failed"`    // how many of them were not; the others have no outcome yet

	// What validating found of those that Succeeded.

	Expired     int `wire:"expired"`      // how many have expired
	NotFound    int `wire:"not_found"`    // how many do not exist
	Malformed   int `wire:"malformed"`    // how many cannot be read
	RotationDue int `wire:"rotation_due"` // how many are valid and due for rotation

	// Attempts is how often the job was begun.
	Attempts int `wire:"attempts"`
	// Conflicts is how many other jobs came under this one's name and were refused:
	// those of another command or with other items.
	Conflicts int `wire:"conflicts"`

	// Times are by the clock of the NATS servers.

	Submitted time.Time `wire:"submitted"`  // when the queue got the job
	NotBefore time.Time `wire:"not_before"` // as in the job
	ExpiresAt time.Time `wire:"expires_at"` // as in the job
	RetryAt   time.Time `wire:"retry_at"`   // when the next attempt is
	Updated   time.Time `wire:"updated"`    // when this was published
	Worker    string    `wire:"worker"`     // the one that runs it, or ran it last
	// Cancelling is set if the job was told to end and has not ended yet.
	Cancelling bool `wire:"cancelling"`
	// Dead is set while the job is a dead letter, which can be retried or dropped.
	Dead bool `wire:"dead"`
	// Content is a keyed digest of the command and the items, which only workers can
	// compute. It is empty where nothing could be read.
	Content string `wire:"content"`

	// Began is the revision when the job was first begun. It is for the workers.
	Began Revision `wire:"began"`
	// Reached is a revision whose readers see all that the job has written.
	Reached Revision `wire:"reached"`
	// Cursor is where a job with all goes on. It is for the workers.
	Cursor string `wire:"cursor,max=MaxCursorLen"`
	// Results are in the order of the items. A list of jobs has none.
	Results []JobResult `wire:"results,max=MaxBatchItems"`
}

// Count sets Succeeded and Failed, and the counts of a validation, from the results.
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
	// Pending is set while there is no outcome. Err says then why the last attempt failed.
	Pending bool `wire:"pending"`
	// Version is that of the credential that was stored, retrieved or validated, or that
	// will be deleted.
	Version string `wire:"version"`

	// Those of ValidateReply, after a validation.

	Status      Status    `wire:"status"`
	Expires     time.Time `wire:"expires"`
	RotationDue bool      `wire:"rotation_due"`
	Reason      string    `wire:"reason"`

	Err *Error `wire:"error"` // why the item failed
}

// DeadJob is a dead letter: a job that was given up. Only workers see it.
type DeadJob struct {
	Status JobStatus `wire:"status,always"`
	// Body is what was published, unless it may not be kept: one that cannot be read
	// or has values in clear is not.
	Body []byte `wire:"body,clone"`
}

// JobRequest asks about one job, or to end, retry or drop it.
type JobRequest struct {
	Envelope
	Target // the job's
}

// JobShowRequest asks for the status of a job. With Posted it also asks whether that is the
// job of this name. If it is not, the error is AlreadyExists.
type JobShowRequest struct {
	JobRequest
	Command Command `wire:"command"` // the one that Posted is a job of
	Posted  []byte  `wire:"posted"`  // a body that was published as a job
}

// JobReply is the status of a job.
type JobReply struct {
	JobStatus
	Revision Revision `wire:"revision,reply"`
}

// JobListRequest asks for a page of the jobs of a scope and all below it. All
// filters that are set must match.
type JobListRequest struct {
	Envelope
	Scope      Scope    `wire:"scope"`
	State      JobState `wire:"state,read=jobState"`
	Submission ID       `wire:"batch,max=MaxJobIDLen,read=jobID"`
	// Dead asks for the dead letters, which are kept longer than other statuses.
	Dead bool `wire:"dead"`
	Paging
}

// JobListReply is a page of jobs, without results. A job that changes meanwhile may be on two
// pages.
type JobListReply struct {
	Jobs     []JobStatus `wire:"jobs,always,max=MaxListItems"`
	Cursor   string      `wire:"cursor,max=MaxCursorLen"` // left out on the last page
	Revision Revision    `wire:"revision,reply"`
}

// SealKeyRequest asks for the key that jobs are sealed to, and begins a session for sealed
// requests if it brings an encapsulated secret.
type SealKeyRequest struct {
	Envelope
	// KeyID is the key of an earlier reply, to which Encapsulated belongs.
	KeyID string `wire:"key_id"`
	// Encapsulated is the secret of a new session. docs/wire-sealing.md has its form.
	Encapsulated []byte `wire:"encapsulated,clone"`
}

// SealKeyReply is the workers' public key: that of HPKE (RFC 9180) with ML-KEM-768 and
// X25519, HKDF-SHA256 and AES-256-GCM.
type SealKeyReply struct {
	KeyID string    `wire:"key_id"`
	Key   []byte    `wire:"key,clone"`
	Now   time.Time `wire:"now"` // by the clock of the NATS servers, by which jobs and sealed requests are judged
	// MaxDelay is how far ahead Job.NotBefore may be. Zero: this worker runs no jobs.
	MaxDelay time.Duration `wire:"max_delay,seconds"`
	// Signature is that of Key, by Ed25519 under the key Signer. Workers keep one Signer for
	// ever, so clients can pin it.
	Signer    []byte `wire:"signer,clone"`
	Signature []byte `wire:"signature,clone"`
	// Ticket is what requests of the new session carry, and TicketLife how long.
	Ticket     []byte        `wire:"ticket,clone"`
	TicketLife time.Duration `wire:"ticket_life,seconds"`
	Revision   Revision      `wire:"revision,reply"`
}
