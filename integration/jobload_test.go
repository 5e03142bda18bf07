//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/client"
	"credbus/internal/history"
	"credbus/subjects"
)

const (
	jobScope   = client.Scope("test:jobs")
	jobItems   = 100 // of each job
	batchItems = 200 // of each batch

	// Names that the workers choose.
	jobsBucket   = "CREDBUS_CREDENTIALS"
	jobsQueue    = "CREDBUS_JOBS"
	jobsConsumer = "workers"

	copyName = "COPY" // of the bucket's stream
	askLimit = 5 * time.Second
)

// jobLoad is a set of jobs that store, and what the test knows about them.
type jobLoad struct {
	bed     *faultBed
	js      jetstream.JetStream
	client  *client.Client
	batches []*client.Submission
	// attempts is the most starts of one job, as of the last call of unended.
	attempts int
}

// startJobLoad begins the copy of the store's log, which is empty, and submits nothing yet.
//
// The log is the stream of the bucket. Each write is one message of it. A write that is
// refused, because another was faster, is no message. A sequence is given out only once,
// whatever happens to the servers: sync_interval is always. So after any restart the last
// sequence is exactly the number of writes. But the bucket keeps one message for each key. A
// mirror keeps them all, under the sequences of the bucket, and after a restart continues
// at its own last message. So the mirror shows which key was written twice. If a message was
// replaced before the mirror had it, a sequence is missing, which counts as a second write.
func startJobLoad(ctx context.Context, b *faultBed) (*jobLoad, error) {
	l := &jobLoad{bed: b}
	var err error
	if l.js, err = jetstream.New(b.nc); err != nil {
		return l, err
	}
	_, err = l.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: copyName, Mirror: &jetstream.StreamSource{Name: "KV_" + jobsBucket},
		Storage: jetstream.FileStorage, Replicas: b.combination.servers(),
	})
	if err != nil {
		return l, err
	}
	l.client, err = client.Connect(b.url, &client.Config{
		Timeout: askLimit, Name: "jobs",
		NATSOptions: []nats.Option{nats.ReconnectWait(100 * time.Millisecond)},
	})
	return l, err
}

func (l *jobLoad) close() {
	if l.client != nil {
		l.client.Close()
	}
}

// items and jobs are how many were submitted so far.
func (l *jobLoad) items() int { return len(l.batches) * batchItems }
func (l *jobLoad) jobs() int  { return l.items() / jobItems }

// itemOf is the key that item i of all items writes.
func itemOf(i int) string { return fmt.Sprintf("item-%d", i) }

// submit submits a batch until it is accepted, and so perhaps more than once. Every second
// item must find nothing at its key: if it were carried out twice as a new item, it would
// fail. The others would overwrite.
func (l *jobLoad) submit(ctx context.Context) error {
	var items []client.StoreItem
	for i := l.items(); i < l.items()+batchItems; i++ {
		item := client.StoreItem{
			ID: client.ID(itemOf(i)), Data: client.Value(valueOf(itemOf(i), i)), StoreOptions: client.StoreOptions{CreateOnly: i%2 == 0},
		}
		if isExpiring(i) {
			item.Expires = time.Now().Add(expiringAfter)
		}
		items = append(items, item)
	}
	name := fmt.Sprintf("batch-%d", len(l.batches))
	return poll(ctx, name, func() error {
		batch, err := l.client.StoreJob(ctx, jobScope, items, &client.JobOptions{Submission: name})
		if err == nil {
			l.batches = append(l.batches, batch)
		}
		return err
	})
}

// unended is how many jobs have not ended.
func (l *jobLoad) unended(ctx context.Context) (int, error) {
	short, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	l.attempts = 0
	ended := make(map[client.ID]bool) // a job that changes meanwhile comes twice
	for job, err := range l.client.Jobs(short, jobScope, &client.JobListOptions{PageSize: subjects.MaxListItems}) {
		if err != nil {
			return 0, err
		}
		ended[job.ID] = job.State.Ended()
		l.attempts = max(l.attempts, job.Attempts)
	}
	n := l.jobs()
	for _, over := range ended {
		if over {
			n--
		}
	}
	return n, nil
}

// awaitQueue returns once the queue is empty. If the end of a job was recorded but not
// acknowledged, the job is delivered once more. redelivered is how many deliveries there were
// beyond one for each job, as the queue's consumer has counted them. A server that is killed
// may forget the last of them.
func (l *jobLoad) awaitQueue(ctx context.Context) (redelivered int, err error) {
	err = poll(ctx, "the queue", func() error {
		short, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		queue, err := l.js.Stream(short, jobsQueue)
		if err != nil {
			return err
		}
		if left := queue.CachedInfo().State.Msgs; left > 0 {
			return fmt.Errorf("%d jobs are left in the queue", left)
		}
		consumer, err := queue.Consumer(short, jobsConsumer)
		if err == nil {
			redelivered = int(consumer.CachedInfo().Delivered.Consumer) - l.jobs()
		}
		return err
	})
	return redelivered, err
}

// outcome is what happened to the jobs, all of which have ended, and to their items.
func (l *jobLoad) outcome(ctx context.Context) (work history.Work, dead []string, err error) {
	n, err := l.unended(ctx)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d jobs that had ended have not ended now", n)
	}
	if err != nil {
		return work, nil, fmt.Errorf("jobs: %w", err)
	}
	for job, err := range l.client.Jobs(ctx, jobScope, &client.JobListOptions{Dead: true}) {
		if err != nil {
			return work, nil, fmt.Errorf("dead letters: %w", err)
		}
		dead = append(dead, fmt.Sprintf("%s: %s", job.ID, job.Reason))
	}
	for i := range l.items() {
		work.Items = append(work.Items, history.Item{Key: itemOf(i), Value: fmt.Sprint(i)})
	}
	if work.Results, err = l.results(ctx); err != nil {
		return work, nil, fmt.Errorf("results: %w", err)
	}
	if work.Log, work.Last, err = l.log(ctx); err != nil {
		return work, nil, fmt.Errorf("the store's log: %w", err)
	}
	if work.Final, err = l.final(ctx, work.Items); err != nil {
		return work, nil, fmt.Errorf("the state in the end: %w", err)
	}
	return work, dead, nil
}

// results is the result of each item, as its caller sees it.
func (l *jobLoad) results(ctx context.Context) (map[string]string, error) {
	results := make(map[string]string)
	for _, batch := range l.batches {
		for result, err := range batch.Results(ctx) {
			switch {
			case err != nil:
				return nil, fmt.Errorf("%s: %w", batch.ID, err)
			case result.Err != nil:
				results[string(result.ID)] = result.Err.Error()
			case result.Pending:
				results[string(result.ID)] = "pending"
			default:
				results[string(result.ID)] = ""
			}
		}
	}
	return results, nil
}

// log is the copy of the store's log, once it is complete.
func (l *jobLoad) log(ctx context.Context) (log []history.Logged, last uint64, err error) {
	err = poll(ctx, "the copy of the log", func() error {
		bucket, err := l.js.Stream(ctx, "KV_"+jobsBucket)
		if err != nil {
			return err
		}
		last = bucket.CachedInfo().State.LastSeq
		copied, err := l.js.Stream(ctx, copyName)
		if err == nil && copied.CachedInfo().State.LastSeq < last {
			err = fmt.Errorf("the copy is at %d of %d", copied.CachedInfo().State.LastSeq, last)
		}
		return err
	})
	if err != nil || last == 0 {
		return nil, last, err
	}
	reader, err := l.js.OrderedConsumer(ctx, copyName, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return nil, 0, err
	}
	messages, err := reader.Messages()
	if err != nil {
		return nil, 0, err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(askLimit))
		if err != nil {
			return nil, 0, err
		}
		place, err := msg.Metadata()
		if err != nil {
			return nil, 0, err
		}
		log = append(log, history.Logged{Place: place.Sequence.Stream, Key: msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:]})
		if place.NumPending == 0 {
			return log, last, nil
		}
	}
}

// final reads every item from the store, with a client that has seen no revision. It returns
// the number of each value.
func (l *jobLoad) final(ctx context.Context, items []history.Item) (map[string]string, error) {
	c, err := client.Connect(l.bed.url, &client.Config{Timeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	final := make(map[string]string)
	for some := range slices.Chunk(items, subjects.MaxBatchItems) {
		var reads []client.RetrieveItem
		for _, item := range some {
			reads = append(reads, client.RetrieveItem{ID: client.ID(item.Key), RetrieveOptions: client.RetrieveOptions{Fresh: true}})
		}
		results, err := c.RetrieveBatch(ctx, jobScope, reads, nil)
		if err != nil {
			return nil, err
		}
		for i, result := range results {
			switch key := some[i].Key; {
			case result.Err == nil:
				final[key] = stateOf(key, result.Reply.Value())
			case !errors.Is(result.Err, client.ErrNotFound):
				return nil, fmt.Errorf("%s: %w", key, result.Err)
			}
		}
	}
	return final, nil
}
