package client

import (
	"context"
	"iter"

	"credbus/subjects"
)

// The terms of jobs.
type (
	// JobStatus is the state and progress of a job.
	JobStatus = subjects.JobStatus
	// JobState is one of the states below.
	JobState = subjects.JobState
	// JobResult is the outcome of one item of a job.
	JobResult = subjects.JobResult
	// Filter selects credentials. All fields that are set must match.
	Filter = subjects.Filter
	// Command is what a job does with each of its credentials.
	Command = subjects.Command
)

// The states of a job. The last three are final.
const (
	JobAccepted  = subjects.JobAccepted
	JobRunning   = subjects.JobRunning
	JobDone      = subjects.JobDone
	JobFailed    = subjects.JobFailed
	JobCancelled = subjects.JobCancelled
)

// The commands of jobs. SelectJob takes all except CommandStore and CommandPatch.
// A job of CommandRetrieve reads each credential, and returns no value.
const (
	CommandStore    = subjects.StoreBatch
	CommandPatch    = subjects.PatchBatch
	CommandRetrieve = subjects.RetrieveBatch
	CommandDelete   = subjects.DeleteBatch
	CommandValidate = subjects.ValidateBatch
)

// Job returns the status of a job, with the results of its items. The error is
// ErrNotFound if the job was never accepted in this scope, or ended more than a day
// ago.
func (c *Client) Job(ctx context.Context, scope Scope, id ID) (*JobStatus, error) {
	return c.askJob(ctx, subjects.JobShow, scope, id)
}

// CancelJob ends a job: at once if it has not begun or waits for its next attempt,
// and before its next item if it runs. Items that are done stay done. A job that has
// ended stays as it is.
func (c *Client) CancelJob(ctx context.Context, scope Scope, id ID) (*JobStatus, error) {
	return c.askJob(ctx, subjects.JobCancel, scope, id)
}

// RetryJob puts a dead letter back into the queue. Items that have an outcome keep
// it. The error is ErrNotFound if there is no such dead letter, also if an earlier
// call, whose reply was lost, has put it back.
func (c *Client) RetryJob(ctx context.Context, scope Scope, id ID) (*JobStatus, error) {
	return c.askJob(ctx, subjects.JobRetry, scope, id)
}

// DropJob removes a dead letter. Its errors are those of RetryJob.
func (c *Client) DropJob(ctx context.Context, scope Scope, id ID) (*JobStatus, error) {
	return c.askJob(ctx, subjects.JobDrop, scope, id)
}

func (c *Client) askJob(ctx context.Context, command subjects.Command, scope Scope, id ID) (*JobStatus, error) {
	if err := checkTarget(scope, id); err != nil {
		return nil, err
	}
	var reply subjects.JobReply
	err := c.exchange(ctx, call{
		command: command, scope: scope,
		request: &subjects.JobRequest{Target: Target{ID: id}},
		reply:   &reply, revision: &reply.Revision,
		fits: func() bool { return reply.Target == Target{Scope: scope, ID: id} && reply.State != "" },
	})
	if err != nil {
		return nil, err
	}
	c.Observe(reply.Reached)
	return &reply.JobStatus, nil
}

// JobListOptions select what Jobs returns. All filters that are set must match.
type JobListOptions struct {
	State      JobState
	Submission ID
	// Dead lists the dead letters instead of all jobs.
	Dead bool
	// PageSize is how many jobs one request asks for, 1 to 1,000; zero for 100.
	PageSize int
}

// Jobs walks over the jobs of a scope and of all scopes below it, in the order of
// their last change, without results. A job that changes meanwhile may come twice.
//
// An error ends the walk. A nil opts is the zero JobListOptions.
func (c *Client) Jobs(ctx context.Context, scope Scope, opts *JobListOptions) iter.Seq2[*JobStatus, error] {
	var options JobListOptions
	if opts != nil {
		options = *opts
	}
	return func(yield func(*JobStatus, error) bool) {
		request := subjects.JobListRequest{
			State: options.State, Submission: options.Submission, Dead: options.Dead,
			Paging: subjects.Paging{Limit: options.PageSize},
		}
		for more := true; more; {
			reply, err := c.jobPage(ctx, scope, &request)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range reply.Jobs {
				if !yield(&reply.Jobs[i], nil) {
					return
				}
			}
			request.Cursor = reply.Cursor
			more = reply.Cursor != ""
		}
	}
}

func (c *Client) jobPage(ctx context.Context, scope Scope, request *subjects.JobListRequest) (*subjects.JobListReply, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	var reply subjects.JobListReply
	return &reply, c.exchange(ctx, call{
		command: subjects.JobList, scope: scope,
		request: request, reply: &reply, revision: &reply.Revision,
		fits: func() bool { return reply.Cursor == "" || reply.Cursor != request.Cursor },
	})
}
