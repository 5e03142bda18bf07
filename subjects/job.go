package subjects

import (
	"slices"
	"time"
)

// The commands that jobs are asked about, and cancelled, with.
const (
	JobShow   Command = "job_show"
	JobList   Command = "job_list"
	JobCancel Command = "job_cancel"
	JobRetry  Command = "job_retry" // a dead letter
	JobDrop   Command = "job_drop"  // a dead letter
	SealKey   Command = "seal_key"
)

// JobCommands are the commands that a job may be of.
var JobCommands = []Command{StoreBatch, PatchBatch, RetrieveBatch, DeleteBatch, ValidateBatch}

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
	ID ID
	// Batch names the jobs that were submitted as one, the ID if there is only one.
	Batch ID
	// Parts is how many jobs the batch has, at least 1.
	Parts int
	// NotBefore is when the job may be begun, ExpiresAt when it may be no longer.
	// Zero: any time.
	NotBefore, ExpiresAt time.Time
	// Submitted is when the job was made, by the workers' time (SealKeyReply.Now). A
	// sealed job has it beside its items: workers take none that is older than what
	// they remember, so that nobody can publish an old one again.
	Submitted time.Time
	// All selects the credentials of the job's scope, and of all below it, that
	// match Filter.
	All bool
	Filter
	// Sealed is the whole job as it would be in clear, sealed to the workers' key that
	// SealedTo names. What stands beside it must be the same as what is sealed.
	Sealed   []byte
	SealedTo string
}

func (j *Job) encode(e *encoder) {
	e.str("job", string(j.ID))
	e.str("batch", string(j.Batch))
	e.integer("parts", int64(j.Parts))
	e.time("not_before", j.NotBefore)
	e.time("expires_at", j.ExpiresAt)
	e.time("submitted", j.Submitted)
	e.boolean("all", j.All)
	j.Filter.encode(e)
	e.bytes("sealed", j.Sealed)
	e.str("sealed_to", j.SealedTo)
}

func (j *Job) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "job":
		j.ID = d.jobID()
	case "batch":
		j.Batch = d.jobID()
	case "parts":
		j.Parts = d.count("parts")
	case "not_before":
		j.NotBefore = d.time("not_before")
	case "expires_at":
		j.ExpiresAt = d.time("expires_at")
	case "submitted":
		j.Submitted = d.time("submitted")
	case "all":
		j.All = d.boolean()
	case "sealed":
		j.Sealed = d.blob()
	case "sealed_to":
		j.SealedTo = d.str(maxTextLen)
	default:
		return j.Filter.field(d, name)
	}
	return true
}

// jobID reads an ID that may be left out.
func (d *decoder) jobID() ID {
	text := d.str(maxTextLen)
	if text == "" {
		return ""
	}
	id, err := ParseID(text)
	if err == nil && len(id) > MaxJobIDLen {
		err = invalidf("the id or batch of a job has %d characters: at most %d are allowed", len(id), MaxJobIDLen)
	}
	if err != nil {
		// The status of the job must not hold what nobody could read there.
		d.refuse(err)
		return ""
	}
	return id
}

// count reads a number of things, as far as one can be counted to.
func (d *decoder) count(field string) int {
	const most = 1 << 30
	n := d.integer()
	if n < 0 || n > most {
		d.refusef("%s is %d: 0 to %d are allowed", field, n, most)
		return 0
	}
	return int(n)
}

// JobOf joins a job with the batch request whose items it carries in clear.
type JobOf[T any, P Item[T]] struct {
	Job
	Request BatchRequest[T, P]
}

func (j *JobOf[T, P]) encode(e *encoder) {
	j.Job.encode(e)
	j.Request.encode(e)
}

func (j *JobOf[T, P]) field(d *decoder, name []byte) bool {
	return j.Job.field(d, name) || j.Request.field(d, name)
}

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
	Target // the job's own scope and ID
	Batch  ID
	// Parts is how many jobs the batch has. That of a job with Job.All grows while
	// it makes jobs of what it finds.
	Parts   int
	Command Command
	State   JobState
	Reason  string // of JobFailed, and why an attempt is to be repeated

	// Of Items, so many Succeeded and so many Failed; the others have no outcome.
	Items, Succeeded, Failed int

	// Of those that Succeeded in validating, so many were found Expired, NotFound or
	// Malformed, and so many valid with rotation due.
	Expired, NotFound, Malformed, RotationDue int

	// Attempts is how often the job was begun.
	Attempts  int
	Submitted time.Time
	NotBefore time.Time
	ExpiresAt time.Time
	RetryAt   time.Time
	Updated   time.Time // by the clock of the NATS servers, as all times of a status
	Worker    string    // the one that runs it, or ran it last
	// Cancelling is set when the job was told to end and has not yet.
	Cancelling bool
	// Dead is set when the job is kept among the dead letters, to be retried or
	// dropped.
	Dead bool
	// Content is a keyed digest of the command and the items, which only workers can
	// compute. It is empty where nothing could be read.
	Content string
	// Conflicts is how many other jobs came under this one's name and were refused:
	// those of another command or with other items.
	Conflicts int

	// Began is the revision that was reached when the job was first begun.
	Began Revision
	// Reached is a revision whose readers see all that the job has written.
	Reached Revision
	// Cursor is where a job with Job.All goes on.
	Cursor string
	// Results has one for each item, in order. A list of jobs has none.
	Results []JobResult
}

func (s *JobStatus) encode(e *encoder) {
	s.Target.encode(e)
	e.str("batch", string(s.Batch))
	e.integer("parts", int64(s.Parts))
	e.str("command", string(s.Command))
	e.str("state", string(s.State))
	e.str("reason", s.Reason)
	counters := s.counters()
	for _, c := range counters {
		e.integer(c.name, int64(*c.value))
	}
	times := s.times()
	for _, t := range times {
		e.time(t.name, *t.value)
	}
	e.str("worker", s.Worker)
	e.boolean("cancelling", s.Cancelling)
	e.boolean("dead", s.Dead)
	e.str("content", s.Content)
	e.revision("began", s.Began)
	e.revision("reached", s.Reached)
	e.str("cursor", s.Cursor)
	if len(s.Results) > 0 {
		e.array("results", len(s.Results))
		for i := range s.Results {
			e.message(&s.Results[i])
		}
	}
}

func (s *JobStatus) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "batch":
		s.Batch = d.jobID()
	case "parts":
		s.Parts = d.count("parts")
	case "command":
		s.Command = Command(d.str(maxTextLen))
	case "state":
		s.State = JobState(d.str(maxTextLen))
	case "reason":
		s.Reason = d.str(8 * maxTextLen)
	case "worker":
		s.Worker = d.str(maxTextLen)
	case "cancelling":
		s.Cancelling = d.boolean()
	case "dead":
		s.Dead = d.boolean()
	case "content":
		s.Content = d.str(maxTextLen)
	case "began":
		s.Began = d.revision()
	case "reached":
		s.Reached = d.revision()
	case "cursor":
		s.Cursor = d.str(MaxCursorLen)
	case "results":
		s.Results = messages[JobResult](d, MaxBatchItems, nil)
	default:
		for _, c := range s.counters() {
			if c.name == string(name) {
				*c.value = d.count(c.name)
				return true
			}
		}
		for _, t := range s.times() {
			if t.name == string(name) {
				*t.value = d.time(t.name)
				return true
			}
		}
		return s.Target.field(d, name)
	}
	return true
}

type named[T any] struct {
	name  string
	value *T
}

// counters and times are fields by their names, for both directions.

func (s *JobStatus) counters() [9]named[int] {
	return [...]named[int]{
		{"items", &s.Items}, {"succeeded", &s.Succeeded}, {"failed", &s.Failed},
		{"expired", &s.Expired}, {"not_found", &s.NotFound}, {"malformed", &s.Malformed}, {"rotation_due", &s.RotationDue},
		{"attempts", &s.Attempts}, {"conflicts", &s.Conflicts},
	}
}

func (s *JobStatus) times() [5]named[time.Time] {
	return [...]named[time.Time]{
		{"submitted", &s.Submitted}, {"not_before", &s.NotBefore}, {"expires_at", &s.ExpiresAt}, {"retry_at", &s.RetryAt}, {"updated", &s.Updated},
	}
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
	Pending bool
	// Version is that of what was stored, retrieved or validated, and of what is
	// about to be deleted.
	Version string

	// Of a validation, as in ValidateReply.
	Status      Status
	Expires     time.Time
	RotationDue bool
	Reason      string

	Err *Error
}

func (r *JobResult) encode(e *encoder) {
	r.Target.encode(e)
	e.boolean("pending", r.Pending)
	e.str("version", r.Version)
	e.str("status", string(r.Status))
	e.time("expires", r.Expires)
	e.boolean("rotation_due", r.RotationDue)
	e.str("reason", r.Reason)
	if r.Err != nil {
		e.name("error")
		e.message(r.Err)
	}
}

func (r *JobResult) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "pending":
		r.Pending = d.boolean()
	case "version":
		r.Version = d.str(maxTextLen)
	case "status":
		r.Status = Status(d.str(maxTextLen))
	case "expires":
		r.Expires = d.time("expires")
	case "rotation_due":
		r.RotationDue = d.boolean()
	case "reason":
		r.Reason = d.str(maxTextLen)
	case "error":
		r.Err = new(Error)
		d.message(r.Err)
	default:
		return r.Target.field(d, name)
	}
	return true
}

// DeadJob is a dead letter: a job that was given up. Only workers see it.
type DeadJob struct {
	Status JobStatus
	// Body is what was published, unless it may not be kept: one that cannot be read
	// or has values in clear is not.
	Body []byte
}

func (l *DeadJob) encode(e *encoder) {
	e.name("status")
	e.message(&l.Status)
	e.bytes("body", l.Body)
}

func (l *DeadJob) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "status":
		d.message(&l.Status)
	case "body":
		l.Body = slices.Clone(d.blob())
	default:
		return false
	}
	return true
}

// JobRequest asks about one job, or for something to be done with it.
type JobRequest struct {
	Envelope
	Target // the job's
}

func (r *JobRequest) encode(e *encoder) { r.Target.encode(e); r.Envelope.encode(e) }
func (r *JobRequest) field(d *decoder, name []byte) bool {
	return r.Target.field(d, name) || r.Envelope.field(d, name)
}

// JobShowRequest asks about one job. With Posted, the body that was published as a
// job of Command, it also asks whether that is the job of this name: the answer to
// another one is AlreadyExists.
type JobShowRequest struct {
	JobRequest
	Command Command
	Posted  []byte
}

func (r *JobShowRequest) encode(e *encoder) {
	r.JobRequest.encode(e)
	e.str("command", string(r.Command))
	e.bytes("posted", r.Posted)
}

func (r *JobShowRequest) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "command":
		r.Command = Command(d.str(maxTextLen))
	case "posted":
		r.Posted = d.blob()
	default:
		return r.JobRequest.field(d, name)
	}
	return true
}

// JobReply is how the job stands.
type JobReply struct {
	JobStatus
	Revision Revision
}

func (r *JobReply) field(d *decoder, name []byte) bool {
	if string(name) == "revision" {
		r.Revision = d.revision()
		return true
	}
	return r.JobStatus.field(d, name)
}

// JobListRequest asks for a page of the jobs of a scope and all below it. All
// filters that are set must match.
type JobListRequest struct {
	Envelope
	Paging
	Scope Scope
	State JobState
	Batch ID
	// Dead asks for the dead letters, which are kept for longer than what else is
	// known of a job.
	Dead bool
}

func (r *JobListRequest) encode(e *encoder) {
	e.str("scope", string(r.Scope))
	e.str("state", string(r.State))
	e.str("batch", string(r.Batch))
	e.boolean("dead", r.Dead)
	r.Paging.encode(e)
	r.Envelope.encode(e)
}

var jobStates = []JobState{"", JobAccepted, JobRunning, JobDone, JobFailed, JobCancelled}

func (r *JobListRequest) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "scope":
		r.Scope = d.scope()
	case "state":
		if r.State = JobState(d.str(maxTextLen)); !slices.Contains(jobStates, r.State) {
			d.refusef("state is none of accepted, running, done, failed, cancelled")
		}
	case "batch":
		r.Batch = d.jobID()
	case "dead":
		r.Dead = d.boolean()
	default:
		return r.Paging.field(d, name) || r.Envelope.field(d, name)
	}
	return true
}

// JobListReply is a page of jobs, without results. One that changes while they are
// paged through may stand on two pages.
type JobListReply struct {
	Jobs     []JobStatus
	Cursor   string // "" on the last page
	Revision Revision
}

func (r *JobListReply) encode(e *encoder) {
	e.array("jobs", len(r.Jobs))
	for i := range r.Jobs {
		e.message(&r.Jobs[i])
	}
	e.str("cursor", r.Cursor)
}

func (r *JobListReply) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "jobs":
		r.Jobs = messages[JobStatus](d, MaxListItems, nil)
	case "cursor":
		r.Cursor = d.str(MaxCursorLen)
	case "revision":
		r.Revision = d.revision()
	default:
		return false
	}
	return true
}

// SealKeyRequest asks for the key that bodies are sealed to.
type SealKeyRequest struct{ Envelope }

// SealKeyReply is the workers' public key: that of HPKE (RFC 9180) with ML-KEM-768 and
// X25519, HKDF-SHA256 and AES-256-GCM.
type SealKeyReply struct {
	KeyID string
	Key   []byte
	// Now is the time by which jobs are judged, that of the NATS servers.
	Now time.Time
	// MaxDelay is how far ahead a job's NotBefore may be, in whole seconds.
	MaxDelay time.Duration
	Revision Revision
}

func (r *SealKeyReply) encode(e *encoder) {
	e.str("key_id", r.KeyID)
	e.bytes("key", r.Key)
	e.time("now", r.Now)
	e.integer("max_delay", int64(r.MaxDelay/time.Second))
}

func (r *SealKeyReply) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "key_id":
		r.KeyID = d.str(maxTextLen)
	case "key":
		r.Key = slices.Clone(d.blob())
	case "now":
		r.Now = d.time("now")
	case "max_delay":
		r.MaxDelay = time.Duration(d.count("max_delay")) * time.Second
	case "revision":
		r.Revision = d.revision()
	default:
		return false
	}
	return true
}
