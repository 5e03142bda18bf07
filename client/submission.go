package client

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"credbus/subjects"
)

// Submission is the jobs that were submitted together.
type Submission struct {
	Scope Scope
	ID    ID
	// Jobs is the number of jobs when they were submitted, 0 for a submission that was
	// opened by its name. A selection makes more.
	Jobs int

	c *Client
	// first is the ID of the first job, "" if it is not known.
	first ID
}

// Submission opens a submission that somebody submitted. Its id is that of Submission.ID or
// JobOptions.Submission. A job that was published by itself is a submission with the job's ID.
func (c *Client) Submission(scope Scope, id ID) *Submission {
	return &Submission{Scope: scope, ID: id, c: c}
}

// SubmissionStatus is the state and progress of a submission.
type SubmissionStatus struct {
	Scope Scope
	ID    ID
	// Jobs are the jobs in order, without the results of their items.
	Jobs []JobStatus
	// States counts the jobs by state.
	States map[JobState]int
	// Missing counts the jobs that are not known, and have no State among Jobs:
	// they were not accepted, were not made yet, or ended more than a day ago.
	Missing int
	// Items counts the items of jobs that have begun, Succeeded and Failed those of
	// them with that outcome.
	Items, Succeeded, Failed int
	// Findings of jobs that validate, among the items that Succeeded. RotationDue
	// counts those that are valid with rotation due.
	Expired, NotFound, Malformed, RotationDue int
}

// Ended reports whether no job has anything left to do.
func (s *SubmissionStatus) Ended() bool {
	return len(s.Jobs) > 0 && s.Jobs[0].State.Ended() && s.States[JobAccepted]+s.States[JobRunning] == 0
}

// AllSucceeded reports whether every job is done, and every item has succeeded. An item
// that finds an expired credential has succeeded, too: see Expired and its like.
func (s *SubmissionStatus) AllSucceeded() bool {
	return s.States[JobDone] == len(s.Jobs) && len(s.Jobs) > 0 && s.Failed == 0
}

// Status asks for the status of each job of the submission. The error is ErrNotFound if no
// worker knows the submission.
func (b *Submission) Status(ctx context.Context) (*SubmissionStatus, error) {
	f, err := b.follow(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.poll(ctx); err != nil {
		return nil, err
	}
	status := f.status()
	return &status, nil
}

// Results walks over the results of all items, in the order in which they were
// submitted or found. It asks for one job after another, so that a submission of any
// size takes little memory. An item without an outcome has Pending set; a job that
// has not begun, or is Missing, has no results. An error ends the walk.
func (b *Submission) Results(ctx context.Context) iter.Seq2[*JobResult, error] {
	return func(yield func(*JobResult, error) bool) {
		f, err := b.follow(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for n, parts := 0, 1; n < parts; n++ {
			job, err := b.c.Job(ctx, b.Scope, f.id(n))
			if n > 0 && errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				yield(nil, err)
				return
			}
			parts = min(max(parts, job.Parts), maxParts)
			if n == 0 && f.selects(job) {
				continue // those are of the page that becomes the next job
			}
			for i := range job.Results {
				if !yield(&job.Results[i], nil) {
					return
				}
			}
		}
	}
}

// Wait returns when every job has ended, however long that takes. Its error is that
// of ctx or of the connection, never that of a job. After it, the client reads nothing
// older than the writes of the jobs.
func (b *Submission) Wait(ctx context.Context) (*SubmissionStatus, error) {
	watching, err := b.Watch(ctx)
	if err != nil {
		return nil, err
	}
	var last SubmissionStatus
	for status, err := range watching {
		if err != nil {
			return nil, err
		}
		last = status
	}
	if err := ctx.Err(); err != nil && !last.Ended() {
		return nil, err
	}
	return &last, nil
}

// Cancel ends every job of the submission, as CancelJob does, and those that a selection
// makes meanwhile.
func (b *Submission) Cancel(ctx context.Context) error {
	f, err := b.follow(ctx)
	if err != nil {
		return err
	}
	first, err := b.c.CancelJob(ctx, b.Scope, f.id(0))
	if err != nil {
		return err
	}
	for {
		missing := false
		var group errgroup.Group
		group.SetLimit(pollAtOnce)
		done := make([]error, min(first.Parts, maxParts))
		for n := 1; n < len(done); n++ {
			group.Go(func() error {
				_, done[n] = b.c.CancelJob(ctx, b.Scope, f.id(n))
				return nil
			})
		}
		_ = group.Wait() // errors are in done
		for _, err := range done {
			switch {
			case errors.Is(err, ErrNotFound):
				missing = true
			case err != nil:
				return err
			}
		}
		// The first job may be about to publish one more.
		if !missing || first.State.Ended() {
			return nil
		}
		select {
		case <-time.After(cancelPause):
		case <-ctx.Done():
			return ctx.Err()
		}
		if first, err = b.c.Job(ctx, b.Scope, f.id(0)); err != nil {
			return err
		}
	}
}

const (
	// maxParts bounds the jobs that are kept of a submission, whatever number a job says.
	maxParts = 100_000
	// pollAtOnce is how many jobs are asked about at once.
	pollAtOnce = 10
	// pollEvery is how long a lost status goes unnoticed.
	pollEvery = 10 * time.Second
	// confirmAtMost is how often the client asks a worker whether a job has ended, and
	// confirmEvery the time between two questions.
	confirmAtMost = 10
	confirmEvery  = 100 * time.Millisecond
	// cancelPause gives the first job of a submission time to stop.
	cancelPause = 100 * time.Millisecond
)

// following holds what the client knows about a submission, from replies and statuses.
type following struct {
	*Submission
	jobs  []JobStatus
	first ID
	// ended counts, for each job whose status said that it has ended, how often the client
	// has asked a worker whether that is true.
	ended map[int]int
}

// follow finds the ID of the first job.
func (b *Submission) follow(ctx context.Context) (*following, error) {
	f := &following{Submission: b, first: b.first, ended: make(map[int]int)}
	if f.first != "" {
		return f, nil
	}
	if err := checkTarget(b.Scope, b.ID); err != nil {
		return nil, err
	}
	for _, id := range []ID{jobID(b.ID, 0), b.ID} {
		job, err := b.c.Job(ctx, b.Scope, id)
		switch {
		case err == nil && job.Submission == b.ID:
			f.first = id
			return f, nil
		case err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalidArgument): // the first ID may be too long
			return nil, err
		}
	}
	return nil, about(Target{Scope: b.Scope, ID: b.ID}, subjects.Errorf(subjects.NotFound, "no such submission in this scope, or it ended more than a day ago"))
}

func (f *following) id(n int) ID {
	if n == 0 {
		return f.first
	}
	return jobID(f.Submission.ID, n)
}

// index is the number of a job in the submission, -1 if it does not belong to it.
func (f *following) index(id ID) int {
	if id == f.first {
		return 0
	}
	number, ok := strings.CutPrefix(string(id), string(f.Submission.ID)+"-")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 1 || f.id(n) != id {
		return -1
	}
	return n
}

// selects reports whether the first job makes the others, which have the items.
func (f *following) selects(first *JobStatus) bool { return first.Items == 0 && len(first.Results) > 0 }

// grow makes room for the jobs that the submission is known to have.
func (f *following) grow(parts int) {
	for n := len(f.jobs); n < parts; n++ {
		f.jobs = append(f.jobs, JobStatus{Target: Target{Scope: f.Scope, ID: f.id(n)}, Submission: f.Submission.ID})
	}
}

// take enters the status of a job, and reports whether that is news. If it says that the job
// has ended, it must come from a worker's reply.
func (f *following) take(job *JobStatus) bool {
	n := f.index(job.ID)
	parts := min(job.Parts, maxParts)
	if job.Scope != f.Scope || job.Submission != f.Submission.ID || n < 0 || n >= max(parts, len(f.jobs)) {
		return false
	}
	if n == 0 {
		f.grow(parts)
	}
	f.grow(n + 1)
	known := &f.jobs[n]
	older := known.Worker == job.Worker && job.Updated.Before(known.Updated)
	if known.State.Ended() || older && !job.State.Ended() {
		return false // a reply may be older than a status that came meanwhile
	}
	results := job.Results
	job.Results = nil // the largest part, and not needed
	changed := known.State != job.State || !known.Updated.Equal(job.Updated) || known.Parts != job.Parts
	*known = *job
	job.Results = results
	return changed
}

// heard enters a status that came on the jobs' subject. If it says that the job has
// ended, heard only notes that, because anybody may have published it; confirm asks.
func (f *following) heard(job *JobStatus) (changed bool) {
	if !job.State.Ended() {
		return f.take(job)
	}
	n := f.index(job.ID)
	if job.Scope != f.Scope || job.Submission != f.Submission.ID || n < 0 || n >= max(min(job.Parts, maxParts), len(f.jobs)) {
		return false
	}
	f.grow(n + 1)
	if f.jobs[n].State.Ended() {
		return false
	}
	if _, noted := f.ended[n]; !noted {
		f.ended[n] = 0
	}
	return false
}

// confirm asks a worker about each job whose status said that it has ended, and reports
// whether there is news. Each reply raises the client's revision to what the job has
// reached. A worker may see the end a moment later than the client, so confirm asks up to
// confirmAtMost times. After that, poll asks for the job with all others.
func (f *following) confirm(ctx context.Context) (changed bool, err error) {
	open := slices.Sorted(maps.Keys(f.ended))
	asked := make([]*JobStatus, len(open))
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(pollAtOnce)
	for i, n := range open {
		group.Go(func() error {
			job, err := f.c.Job(asking, f.Scope, f.id(n))
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			asked[i] = job
			return err
		})
	}
	err = group.Wait()
	for i, n := range open {
		if asked[i] != nil && f.take(asked[i]) {
			changed = true
		}
		if f.ended[n]++; f.jobs[n].State.Ended() || f.ended[n] == confirmAtMost {
			delete(f.ended, n)
		}
	}
	return changed, err
}

// poll asks about every job that has not ended. The jobs after the first need not
// exist yet: a selection counts a job before it is published.
func (f *following) poll(ctx context.Context) error {
	first, err := f.c.Job(ctx, f.Scope, f.first)
	if err != nil {
		return err
	}
	f.take(first)
	asked := make([]*JobStatus, len(f.jobs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pollAtOnce)
	for n := 1; n < len(f.jobs); n++ {
		if f.jobs[n].State.Ended() {
			continue
		}
		id := f.id(n)
		group.Go(func() error {
			job, err := f.c.Job(ctx, f.Scope, id)
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			if err == nil {
				job.Results = nil
			}
			asked[n] = job
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, job := range asked {
		if job != nil {
			f.take(job)
		}
	}
	return nil
}

// status sums up. It copies the jobs, since they go on changing.
func (f *following) status() SubmissionStatus {
	s := SubmissionStatus{Scope: f.Scope, ID: f.Submission.ID, Jobs: append([]JobStatus(nil), f.jobs...), States: make(map[JobState]int)}
	for i := range s.Jobs {
		job := &s.Jobs[i]
		if job.State == "" {
			s.Missing++
			continue
		}
		s.States[job.State]++
		s.Items += job.Items
		s.Succeeded += job.Succeeded
		s.Failed += job.Failed
		s.Expired += job.Expired
		s.NotFound += job.NotFound
		s.Malformed += job.Malformed
		s.RotationDue += job.RotationDue
	}
	return s
}
