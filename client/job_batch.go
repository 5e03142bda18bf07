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

// Batch is the jobs that were submitted as one.
type Batch struct {
	Scope Scope
	ID    ID
	// Jobs is how many there were when they were submitted, and 0 of a batch that
	// was opened by its name. Those of a selection become more.
	Jobs int

	c *Client
	// first is the ID of the first job, "" where that is not known.
	first ID
}

// Batch is a batch that somebody submitted, by the name that its Batch.ID or
// JobOptions gave it. Also a job that was published by itself is one, of its own ID.
func (c *Client) Batch(scope Scope, id ID) *Batch { return &Batch{Scope: scope, ID: id, c: c} }

// BatchStatus says how far a batch has come.
type BatchStatus struct {
	Scope Scope
	ID    ID
	// Jobs are the jobs in order, without the results of their items.
	Jobs []JobStatus
	// States counts the jobs by state.
	States map[JobState]int
	// Missing counts the jobs that are not known, and have no State among Jobs:
	// they were not accepted, or not made yet, or ended more than a day ago.
	Missing int
	// Of Items, as far as they are counted, so many Succeeded and so many Failed.
	// The items of a job are counted once it is begun.
	Items, Succeeded, Failed int
	// Of those that Succeeded in validating, so many were found Expired, NotFound or
	// Malformed, and so many valid with rotation due.
	Expired, NotFound, Malformed, RotationDue int
}

// Ended reports whether no job has anything left to do.
func (s *BatchStatus) Ended() bool {
	return len(s.Jobs) > 0 && s.Jobs[0].State.Ended() && s.States[JobAccepted]+s.States[JobRunning] == 0
}

// AllSucceeded reports whether every job is done, and every item has succeeded. To
// validate an expired credential is to succeed: see Expired and its like.
func (s *BatchStatus) AllSucceeded() bool {
	return s.States[JobDone] == len(s.Jobs) && len(s.Jobs) > 0 && s.Failed == 0
}

// Status asks how each job of the batch stands. It is ErrNotFound for a batch that
// nobody knows.
func (b *Batch) Status(ctx context.Context) (*BatchStatus, error) {
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
// submitted or found. It asks for one job after another, so that a batch of any
// size takes little memory. An item without an outcome has Pending set; a job that
// is not begun, or that is Missing, has no results. An error ends the walk.
func (b *Batch) Results(ctx context.Context) iter.Seq2[*JobResult, error] {
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
				continue // those are of the page that it is making a job of
			}
			for i := range job.Results {
				if !yield(&job.Results[i], nil) {
					return
				}
			}
		}
	}
}

// Wait returns when every job has ended, however long that takes; the error is that
// of ctx or of the connection, never that of a job. What the client reads after that
// is no older than what the jobs have written.
func (b *Batch) Wait(ctx context.Context) (*BatchStatus, error) {
	watching, err := b.Watch(ctx)
	if err != nil {
		return nil, err
	}
	var last BatchStatus
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

// Cancel has every job of the batch end, as CancelJob does, and those that a
// selection makes meanwhile.
func (b *Batch) Cancel(ctx context.Context) error {
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
	// maxParts bounds what is kept of a batch, whatever a job says of it.
	maxParts = 100_000
	// pollAtOnce is how many jobs are asked about at once.
	pollAtOnce = 10
	// pollEvery is how long a status that got lost goes unnoticed.
	pollEvery = 10 * time.Second
	// confirmAtMost is how often the client asks a worker whether a job has ended, and
	// confirmEvery the time between two questions.
	confirmAtMost = 10
	confirmEvery  = 100 * time.Millisecond
	// cancelPause is how long the first job of a batch is given to stop.
	cancelPause = 100 * time.Millisecond
)

// following is what is known of a batch, from what was asked and heard.
type following struct {
	*Batch
	jobs  []JobStatus
	first ID
	// ended counts, for each job whose status said that it has ended, how often the client
	// has asked a worker whether that is true.
	ended map[int]int
}

// follow finds out what the first job is called.
func (b *Batch) follow(ctx context.Context) (*following, error) {
	f := &following{Batch: b, first: b.first, ended: make(map[int]int)}
	if f.first != "" {
		return f, nil
	}
	if err := checkTarget(b.Scope, b.ID); err != nil {
		return nil, err
	}
	for _, id := range []ID{jobID(b.ID, 0), b.ID} {
		job, err := b.c.Job(ctx, b.Scope, id)
		switch {
		case err == nil && job.Batch == b.ID:
			f.first = id
			return f, nil
		case err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalidArgument): // the first may be too long
			return nil, err
		}
	}
	return nil, about(Target{Scope: b.Scope, ID: b.ID}, subjects.Errorf(subjects.NotFound, "no such batch in this scope, or it ended more than a day ago"))
}

func (f *following) id(n int) ID {
	if n == 0 {
		return f.first
	}
	return jobID(f.Batch.ID, n)
}

// index is the place of a job in the batch, -1 for one that is not of it.
func (f *following) index(id ID) int {
	if id == f.first {
		return 0
	}
	number, ok := strings.CutPrefix(string(id), string(f.Batch.ID)+"-")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 1 || f.id(n) != id {
		return -1
	}
	return n
}

// selects reports whether the first job makes the others, which have the items.
func (f *following) selects(first *JobStatus) bool { return first.Items == 0 && len(first.Results) > 0 }

// grow makes room for the jobs that the batch is known to have.
func (f *following) grow(parts int) {
	for n := len(f.jobs); n < parts; n++ {
		f.jobs = append(f.jobs, JobStatus{Target: Target{Scope: f.Scope, ID: f.id(n)}, Batch: f.Batch.ID})
	}
}

// take enters the status of a job, and reports whether that is news. That a job has ended
// must come from a worker's reply.
func (f *following) take(told *JobStatus) bool {
	n := f.index(told.ID)
	parts := min(told.Parts, maxParts)
	if told.Scope != f.Scope || told.Batch != f.Batch.ID || n < 0 || n >= max(parts, len(f.jobs)) {
		return false
	}
	if n == 0 {
		f.grow(parts)
	}
	f.grow(n + 1)
	known := &f.jobs[n]
	older := known.Worker == told.Worker && told.Updated.Before(known.Updated)
	if known.State.Ended() || older && !told.State.Ended() {
		return false // an answer may be older than what was heard meanwhile
	}
	results := told.Results
	told.Results = nil // they take the most, and nobody asked
	changed := known.State != told.State || !known.Updated.Equal(told.Updated) || known.Parts != told.Parts
	*known = *told
	told.Results = results
	return changed
}

// heard enters a status that came on the jobs' subject. If it says that the job has
// ended, heard only notes that, because anybody may have published it; confirm asks.
func (f *following) heard(told *JobStatus) (changed bool) {
	if !told.State.Ended() {
		return f.take(told)
	}
	n := f.index(told.ID)
	if told.Scope != f.Scope || told.Batch != f.Batch.ID || n < 0 || n >= max(min(told.Parts, maxParts), len(f.jobs)) {
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
// confirmAtMost times. After that the job is asked for with all others.
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
// be there: a selection counts a job before it is published.
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

// status sums up. The jobs are a copy, since what is known goes on changing.
func (f *following) status() BatchStatus {
	s := BatchStatus{Scope: f.Scope, ID: f.Batch.ID, Jobs: append([]JobStatus(nil), f.jobs...), States: make(map[JobState]int)}
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
