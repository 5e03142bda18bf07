package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/hybrid"
	"credbus/subjects"
)

// JobOptions are options of the jobs of one call.
type JobOptions struct {
	// Submission names the jobs, within their scope; empty for a name of its own. For a
	// day, exactly the same items submitted again under the name are not done again,
	// and another command or other items under it give ErrAlreadyExists. At most 40
	// characters of A-Z a-z 0-9 - _.
	Submission string
	// No job begins before NotBefore, which is at most a week ahead unless the workers
	// allow more, and none begins after ExpiresAt. Zero means any time.
	NotBefore, ExpiresAt time.Time
	// Send, if set, gets each job instead of the queue, with its subject, headers and
	// body, so that the caller can publish it by other means. The message is not used
	// after Send returns.
	Send func(*nats.Msg) error
}

// jobID names a job of a submission.
func jobID(submission ID, n int) ID { return submission + ID("-"+strconv.Itoa(n)) }

// jobOverhead is the most bytes that the message of a job has beside its items:
// headers included, and the additions of a dead letter.
const jobOverhead = 8 << 10

// SubmitError is the error of a submission of which some jobs were accepted, or may
// have been. Submit the same items again with the same Submission in the options: no job
// is accepted twice.
type SubmitError struct {
	Submission ID
	Jobs       int   // of the whole submission
	Err        error // why, in the terms of this package
}

// Error says what to do.
func (e *SubmitError) Error() string {
	return fmt.Sprintf("%v: of the %d jobs some or all may have been accepted: submit the same items again as submission %q, which accepts none twice", e.Err, e.Jobs, e.Submission)
}

// Unwrap makes errors.Is see the reason.
func (e *SubmitError) Unwrap() error { return e.Err }

// StoreJob submits any number of credentials that workers store later, while nobody
// waits. It returns once the jobs are durable. Each has up to 100 items, which are done
// in no particular order. The items are sealed to the workers' key, since the servers
// keep jobs on disk.
//
// All items are checked first, and if one breaks a rule nothing is submitted. The
// client submits one job after another. It waits for each answer of the queue for
// Config.Timeout, or half of the time before the deadline of ctx if that is less, and
// asks again as it does for commands. If some jobs were accepted before a failure, or
// may have been, the error is a SubmitError. A nil opts is the zero JobOptions.
func (c *Client) StoreJob(ctx context.Context, scope Scope, items []StoreItem, opts *JobOptions) (*Submission, error) {
	wires := make([]subjects.StoreItem, len(items))
	for i := range items {
		if items[i].RequestID != "" {
			return nil, fmt.Errorf("item %d: %w", i, errJobItemRequestID)
		}
		wires[i] = items[i].wire()
	}
	return submit(ctx, c, subjects.StoreBatch, scope, wires, checkStore, opts)
}

// RetrieveJob submits credentials that workers read later, as StoreJob does. They
// return no value: the results say which credentials can be read, with the version.
func (c *Client) RetrieveJob(ctx context.Context, scope Scope, items []RetrieveItem, opts *JobOptions) (*Submission, error) {
	wires := make([]subjects.RetrieveItem, len(items))
	for i := range items {
		wires[i] = items[i].wire()
	}
	return submit(ctx, c, subjects.RetrieveBatch, scope, wires,
		func(item *subjects.RetrieveItem) error { return checkTarget(item.Scope, item.ID) }, opts)
}

// DeleteJob submits credentials that workers delete later, as StoreJob does.
func (c *Client) DeleteJob(ctx context.Context, scope Scope, items []DeleteItem, opts *JobOptions) (*Submission, error) {
	wires := make([]subjects.DeleteItem, len(items))
	for i := range items {
		if items[i].RequestID != "" {
			return nil, fmt.Errorf("item %d: %w", i, errJobItemRequestID)
		}
		wires[i] = items[i].wire()
	}
	return submit(ctx, c, subjects.DeleteBatch, scope, wires,
		func(item *subjects.DeleteItem) error { return checkTarget(item.Scope, item.ID) }, opts)
}

// ValidateJob submits credentials that workers check later, as StoreJob does. An
// expired, missing or malformed one is not a failure: its result says so.
func (c *Client) ValidateJob(ctx context.Context, scope Scope, items []Target, opts *JobOptions) (*Submission, error) {
	return submit(ctx, c, subjects.ValidateBatch, scope, items,
		func(item *Target) error { return checkTarget(item.Scope, item.ID) }, opts)
}

var errJobItemRequestID = invalid(errors.New("an item of a job names a request id: set Submission of JobOptions, which is for all items"))

// SelectJob makes workers retrieve, delete or validate the credentials of a scope, and
// of all scopes below it, that match a filter. The first job of the submission selects
// them, and makes further jobs for them.
func (c *Client) SelectJob(ctx context.Context, scope Scope, command Command, filter Filter, opts *JobOptions) (*Submission, error) {
	if command.CarriesValues() || !slices.Contains(subjects.JobCommands, command) {
		return nil, invalid(fmt.Errorf("a job cannot select credentials for command %q: retrieve, delete or validate them", command))
	}
	s, err := c.newSubmitter(command, scope, opts)
	if err != nil {
		return nil, err
	}
	if err := s.learn(ctx); err != nil {
		return nil, err
	}
	// A worker would refuse a bad filter only later.
	if err := subjects.Decode(subjects.Append(nil, &subjects.Job{All: true, Filter: filter}), new(subjects.Job)); err != nil {
		return nil, invalid(err)
	}
	s.jobs = 1
	s.body = func(_ int, job *subjects.Job) ([]byte, error) {
		job.All, job.Filter = true, filter
		return subjects.Append(nil, job), nil
	}
	return s.run(ctx)
}

// submit submits items:
//
//	submit
//	├─ check each item; one that breaks a rule ends it
//	├─ divide them into jobs, by number and size
//	├─ fetch the key to seal to, for a job that stores or patches
//	└─ run
//	   └─ encode, seal and publish each job, and wait until all are durable
func submit[I any, P subjects.Item[I]](ctx context.Context, c *Client, command Command, scope Scope, items []I, check func(*I) error, opts *JobOptions) (*Submission, error) {
	s, err := c.newSubmitter(command, scope, opts)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, invalid(errors.New("a job has no items: give at least one"))
	}
	for i := range items {
		if err := check(&items[i]); err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
	}
	starts, err := divide[I, P](items, c.maxPayload())
	if err != nil {
		return nil, err
	}
	if s.jobs = len(starts); s.jobs > maxParts {
		return nil, subjects.Errorf(subjects.InvalidArgument, "the items make %d jobs: at most %d are one submission", s.jobs, maxParts)
	}
	request := func(n int) subjects.BatchRequest[I, P] {
		end := len(items)
		if n+1 < len(starts) {
			end = starts[n+1]
		}
		return subjects.BatchRequest[I, P]{Items: items[starts[n]:end]}
	}
	s.body = func(n int, job *subjects.Job) ([]byte, error) {
		return subjects.Append(nil, &subjects.JobOf[I, P]{Job: *job, Request: request(n)}), nil
	}
	if err := s.learn(ctx); err != nil {
		return nil, err
	}
	if command.CarriesValues() {
		s.body = func(n int, job *subjects.Job) ([]byte, error) {
			// The whole job is sealed, so that nobody can change its times, or publish
			// it again after the workers have forgotten it.
			plaintext := subjects.Append(nil, &subjects.JobOf[I, P]{Job: *job, Request: request(n)})
			defer clear(plaintext)
			var err error
			if job.Sealed, err = s.key.Seal(plaintext, c.prefix.Job(command, scope, job.ID)); err != nil {
				return nil, fmt.Errorf("seal a job: %w", err)
			}
			job.SealedTo = s.keyID
			return subjects.Append(nil, job), nil
		}
	}
	return s.run(ctx)
}

// divide returns the index at which each job begins. An item counts with its size in
// the job or with resultSize, whichever is larger, since the status of the job has a
// result for it.
func divide[I any, P subjects.Item[I]](items []I, maxPayload int) (starts []int, err error) {
	limit := maxPayload - jobOverhead
	var scratch []byte
	defer func() { clear(scratch) }()
	size := 0
	for i := range items {
		clear(scratch)
		scratch = subjects.Append(scratch[:0], P(&items[i]))
		if len(scratch) > limit {
			return nil, fmt.Errorf("item %d: %w", i, subjects.Errorf(subjects.PayloadTooLarge,
				"the item has %d bytes: the NATS server's maximum payload of %d leaves room for %d", len(scratch), maxPayload, limit))
		}
		takes := max(len(scratch), resultSize)
		size += takes
		if len(starts) == 0 || size > limit || i-starts[len(starts)-1] == subjects.MaxBatchItems {
			starts = append(starts, i)
			size = takes
		}
	}
	return starts, nil
}

// learn asks the workers for the key to seal to, and for their time, by which they
// judge when a job may begin.
func (s *submitter) learn(ctx context.Context) error {
	if !s.command.CarriesValues() && s.options.NotBefore.IsZero() && s.options.ExpiresAt.IsZero() {
		return nil
	}
	var reply subjects.SealKeyReply
	err := s.c.exchange(ctx, call{
		command: subjects.SealKey, scope: s.scope,
		request: &subjects.SealKeyRequest{},
		reply:   &reply, revision: &reply.Revision,
		fits: func() bool {
			var err error
			s.key, err = hybrid.ParsePublicKey(reply.Key)
			return err == nil && reply.KeyID != "" && !reply.Now.IsZero()
		},
	})
	if err != nil {
		return err
	}
	s.keyID, s.workersTime, s.asked = reply.KeyID, reply.Now, time.Now()
	switch ahead := s.options.NotBefore.Sub(reply.Now); {
	case reply.MaxDelay > 0 && ahead > reply.MaxDelay:
		return subjects.Errorf(subjects.InvalidArgument, "not_before is more than %s ahead (jobs.max_delay of the workers): submit the jobs later", reply.MaxDelay)
	case !s.options.ExpiresAt.IsZero() && !s.options.ExpiresAt.After(reply.Now):
		return invalid(errors.New("the jobs have expired already: give a later expires_at"))
	}
	return nil
}

// submitted is the present time by the clock of the workers.
func (s *submitter) submitted() time.Time {
	if s.workersTime.IsZero() {
		return time.Time{}
	}
	return s.workersTime.Add(time.Since(s.asked))
}

// submitter is a submission of jobs that is being submitted.
type submitter struct {
	c       *Client
	command Command
	scope   Scope
	name    ID
	options JobOptions
	jobs    int
	// body adds its items to the nth job, and encodes it. It is called each time that
	// the job is sent, so that only one body is in memory.
	body func(n int, job *subjects.Job) ([]byte, error)
	// The key to seal to, the workers' time, and when they were asked for it. All are
	// zero if they are not needed.
	key                hybrid.PublicKey
	keyID              string
	workersTime, asked time.Time
	// unsure is set once a job is accepted, or may be.
	unsure bool
}

func (c *Client) newSubmitter(command Command, scope Scope, opts *JobOptions) (*submitter, error) {
	s := &submitter{c: c, command: command, scope: scope}
	if opts != nil {
		s.options = *opts
	}
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	s.name = ID(cmp.Or(s.options.Submission, strings.ToLower(rand.Text())))
	if err := checkSubmissionID(s.name); err != nil {
		return nil, err
	}
	switch expires := s.options.ExpiresAt; {
	case expires.IsZero():
	case !expires.After(s.options.NotBefore):
		return nil, invalid(errors.New("the jobs expire before they may begin: give a later expires_at, or an earlier not_before"))
	}
	return s, nil
}

func checkSubmissionID(id ID) error {
	if _, err := subjects.ParseID(string(id)); err != nil {
		refused := invalid(err)
		refused.Message = "the name of the submission: " + refused.Message
		return refused
	}
	if len(id) > subjects.MaxSubmissionIDLen {
		return subjects.Errorf(subjects.InvalidArgument, "the name of the submission has %d characters: at most %d are allowed", len(id), subjects.MaxSubmissionIDLen)
	}
	return nil
}

// message is the nth job as it is published.
func (s *submitter) message(n int) (*nats.Msg, error) {
	job := subjects.Job{
		ID: jobID(s.name, n), Submission: s.name, Parts: s.jobs,
		NotBefore: s.options.NotBefore, ExpiresAt: s.options.ExpiresAt, Submitted: s.submitted(),
	}
	msg := nats.NewMsg(s.c.prefix.Job(s.command, s.scope, job.ID))
	var err error
	msg.Data, err = s.body(n, &job)
	return msg, err
}
