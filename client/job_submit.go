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

// JobOptions say how the jobs of one call are done.
type JobOptions struct {
	// Batch names the jobs, within their scope; empty for a name of its own. What
	// is submitted again under the same name, as exactly the same items, is not
	// done again, for a day; another command or other items under the name are
	// ErrAlreadyExists. At most 40 characters of A-Z a-z 0-9 - _.
	Batch string
	// NotBefore is when the jobs may be begun, at most a week ahead unless the workers
	// allow more, ExpiresAt when they may be no longer. Zero: any time.
	NotBefore, ExpiresAt time.Time
	// Send is given each job, with its subject, headers and body, in place of the
	// queue, by whoever publishes them by other means. The message is not used
	// after it returns.
	Send func(*nats.Msg) error
}

// jobID names a job of a batch.
func jobID(batch ID, n int) ID { return batch + ID("-"+strconv.Itoa(n)) }

// jobOverhead is the most that the message of a job holds beside its items, its
// headers included, and a dead letter beside that.
const jobOverhead = 8 << 10

// SubmitError is the error of a submission of which some jobs were accepted, or may
// have been. Submit the same items again with the same Batch in the options: what
// was accepted is not accepted twice.
type SubmitError struct {
	Batch ID
	Jobs  int   // of the whole batch
	Err   error // why, in the terms of this package
}

// Error says what to do.
func (e *SubmitError) Error() string {
	return fmt.Sprintf("%v: of the %d jobs some or all may have been accepted: submit the same items again as batch %q, which accepts none twice", e.Err, e.Jobs, e.Batch)
}

// Unwrap makes errors.Is see the reason.
func (e *SubmitError) Unwrap() error { return e.Err }

// StoreJob has workers store credentials, any number of them, later and without
// anybody waiting: it returns once the jobs are durable, up to 100 items in each,
// which are done in no particular order. The items are sealed to the workers' key,
// since the servers keep jobs on disk.
//
// All items are checked first, and if one breaks a rule nothing is submitted. Up to
// 1,000 jobs are accepted as a whole or not at all, where the NATS server can do so
// (2.12). Each answer of the queue is waited for as long as Config.Timeout, or half
// of what the deadline of ctx leaves, and asked for again as commands are. When the
// fate of what was sent is not known, the error is a SubmitError. A nil opts is the
// zero JobOptions.
func (c *Client) StoreJob(ctx context.Context, scope Scope, items []StoreItem, opts *JobOptions) (*Batch, error) {
	wires := make([]subjects.StoreItem, len(items))
	for i := range items {
		if items[i].RequestID != "" {
			return nil, fmt.Errorf("item %d: %w", i, errJobItemRequestID)
		}
		wires[i] = items[i].wire()
	}
	return submit(ctx, c, subjects.StoreBatch, scope, wires, checkStore, opts)
}

// RetrieveJob has workers read credentials, as StoreJob has them stored. No value
// is returned: the results say of which credential a version can be read.
func (c *Client) RetrieveJob(ctx context.Context, scope Scope, items []RetrieveItem, opts *JobOptions) (*Batch, error) {
	wires := make([]subjects.RetrieveItem, len(items))
	for i := range items {
		wires[i] = items[i].wire()
	}
	return submit(ctx, c, subjects.RetrieveBatch, scope, wires,
		func(item *subjects.RetrieveItem) error { return checkTarget(item.Scope, item.ID) }, opts)
}

// DeleteJob has workers delete credentials, as StoreJob has them stored.
func (c *Client) DeleteJob(ctx context.Context, scope Scope, items []DeleteItem, opts *JobOptions) (*Batch, error) {
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

// ValidateJob has workers check credentials, as StoreJob has them stored. One that
// is expired, missing or malformed is no failure: its result says so.
func (c *Client) ValidateJob(ctx context.Context, scope Scope, items []Target, opts *JobOptions) (*Batch, error) {
	return submit(ctx, c, subjects.ValidateBatch, scope, items,
		func(item *Target) error { return checkTarget(item.Scope, item.ID) }, opts)
}

var errJobItemRequestID = invalid(errors.New("an item of a job names a request id: set Batch of JobOptions, which is for all items"))

// SelectJob has workers find the credentials of a scope, and of all scopes below
// it, that match a filter, and retrieve, delete or validate them. The first job of
// the batch selects, and makes further ones of what it finds.
func (c *Client) SelectJob(ctx context.Context, scope Scope, command Command, filter Filter, opts *JobOptions) (*Batch, error) {
	if command.CarriesValues() || !slices.Contains(subjects.JobCommands, command) {
		return nil, invalid(fmt.Errorf("a job cannot select credentials for command %q: retrieve, delete or validate them", command))
	}
	s, err := c.newSubmission(command, scope, opts)
	if err != nil {
		return nil, err
	}
	if err := s.learn(ctx); err != nil {
		return nil, err
	}
	// What a worker would refuse, it would refuse later and alone.
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
func submit[I any, P subjects.Item[I]](ctx context.Context, c *Client, command Command, scope Scope, items []I, check func(*I) error, opts *JobOptions) (*Batch, error) {
	s, err := c.newSubmission(command, scope, opts)
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
		return nil, subjects.Errorf(subjects.InvalidArgument, "the items make %d jobs: at most %d are one batch", s.jobs, maxParts)
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
			// The whole job is sealed, so that nobody changes when it may be done, or
			// publishes it again when it is forgotten.
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

// divide returns the index at which each job begins. An item counts as what it
// takes in the job or as resultSize, whichever is more, since the status of the job
// has a result for it.
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

// learn asks the workers for what a submission needs of them: the key to seal to, and
// the time, by which they judge when a job may be done.
func (s *submission) learn(ctx context.Context) error {
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
	s.keyID, s.told, s.asked = reply.KeyID, reply.Now, time.Now()
	switch ahead := s.options.NotBefore.Sub(reply.Now); {
	case reply.MaxDelay > 0 && ahead > reply.MaxDelay:
		return subjects.Errorf(subjects.InvalidArgument, "not_before is more than %s ahead (jobs.max_delay of the workers): submit the jobs later", reply.MaxDelay)
	case !s.options.ExpiresAt.IsZero() && !s.options.ExpiresAt.After(reply.Now):
		return invalid(errors.New("the jobs have expired already: give a later expires_at"))
	}
	return nil
}

// submitted is the time now, by the clock that the workers go by.
func (s *submission) submitted() time.Time {
	if s.told.IsZero() {
		return time.Time{}
	}
	return s.told.Add(time.Since(s.asked))
}

// submission is a batch of jobs on its way.
type submission struct {
	c       *Client
	command Command
	scope   Scope
	batch   ID
	options JobOptions
	jobs    int
	// body adds its items to the nth job, and encodes it. It is made anew each time
	// it is sent, so that no more than one is in memory.
	body func(n int, job *subjects.Job) ([]byte, error)
	// The key to seal to; and the time that the workers told, and when. All are zero
	// where they are not needed.
	key         hybrid.PublicKey
	keyID       string
	told, asked time.Time
	// unsure is set once a job is accepted, or may be.
	unsure bool
}

func (c *Client) newSubmission(command Command, scope Scope, opts *JobOptions) (*submission, error) {
	s := &submission{c: c, command: command, scope: scope}
	if opts != nil {
		s.options = *opts
	}
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	s.batch = ID(cmp.Or(s.options.Batch, strings.ToLower(rand.Text())))
	if err := checkBatchID(s.batch); err != nil {
		return nil, err
	}
	switch expires := s.options.ExpiresAt; {
	case expires.IsZero():
	case !expires.After(s.options.NotBefore):
		return nil, invalid(errors.New("the jobs expire before they may be begun: give a later expires_at, or an earlier not_before"))
	}
	return s, nil
}

func checkBatchID(id ID) error {
	if _, err := subjects.ParseID(string(id)); err != nil {
		refused := invalid(err)
		refused.Message = "the name of the batch: " + refused.Message
		return refused
	}
	if len(id) > subjects.MaxBatchIDLen {
		return subjects.Errorf(subjects.InvalidArgument, "the name of the batch has %d characters: at most %d are allowed", len(id), subjects.MaxBatchIDLen)
	}
	return nil
}

// message is the nth job as it is published.
func (s *submission) message(n int) (*nats.Msg, error) {
	job := subjects.Job{
		ID: jobID(s.batch, n), Batch: s.batch, Parts: s.jobs,
		NotBefore: s.options.NotBefore, ExpiresAt: s.options.ExpiresAt, Submitted: s.submitted(),
	}
	msg := nats.NewMsg(s.c.prefix.Job(s.command, s.scope, job.ID))
	var err error
	msg.Data, err = s.body(n, &job)
	return msg, err
}
