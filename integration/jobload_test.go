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

	// Names that the workers give.
	jobsBucket   = "CREDBUS_CREDENTIALS"
	jobsQueue    = "CREDBUS_JOBS"
	jobsConsumer = "workers"

	copyName = "COPY" // of the bucket's stream
	askLimit = 5 * time.Second
)

// jobLoad is jobs that store, and what is known of them.
type jobLoad struct {
	bed     *faultBed
	js      jetstream.JetStream
	client  *client.Client
	batches []*client.Batch
	// attempts is how often a job was begun at most, when unended was asked last.
	attempts int
}

// startJobLoad begins the copy of the store's log, which is empty, and submits
// nothing yet.
//
// The log is the stream of the bucket. Each write is one message of it, a write that
// is refused, since another was faster, is none, and a sequence is given out
// once, whatever becomes of the servers: sync_interval is always. So the last
// sequence is the number of writes, exactly, after any restart. But the bucket keeps
// one message for each key. A mirror keeps them all, under the sequences of the bucket,
// and goes on after restarts where its own last message stands; that tells which key
// was written twice. What was replaced before the mirror had it leaves a sequence out,
// which counts as the second write that it is.
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

// items and jobs are how many were submitted.
func (l *jobLoad) items() int { return len(l.batches) * batchItems }
func (l *jobLoad) jobs() int  { return l.items() / jobItems }

// itemOf is the key that item i of all is to write.
func itemOf(i int) string { return fmt.Sprintf("item-%d", i) }

// submit submits a batch until it is accepted, and so perhaps more than once. Every
// second item must find nothing there: one that is carried out again and taken for
// new would fail. The others would overwrite.
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
		batch, err := l.client.StoreJob(ctx, jobScope, items, &client.JobOptions{Batch: name})
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
	ended := make(map[client.ID]bool) // one that changes meanwhile comes twice
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

// awaitQueue returns once the queue is empty: a job whose end was entered and not
// acknowledged is delivered once more. redelivered is how many deliveries there were
// beyond one of each job, as the queue's consumer has counted them. A server that is
// killed may forget the last of them.
func (l *jobLoad) awaitQueue(ctx context.Context) (redelivered int, err error) {
	err = poll(ctx, "the queue", func() error {
		short, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		queue, err := l.js.Stream(short, jobsQueue)
		if err != nil {
			return err
		}
		if left := queue.CachedInfo().State.Msgs; left > 0 {
			return fmt.Errorf("%d jobs are left in it", left)
		}
		consumer, err := queue.Consumer(short, jobsConsumer)
		if err == nil {
			redelivered = int(consumer.CachedInfo().Delivered.Consumer) - l.jobs()
		}
		return err
	})
	return redelivered, err
}

// outcome is what became of the jobs, all of which have ended, and of their items.
func (l *jobLoad) outcome(ctx context.Context) (work history.Work, dead []string, err error) {
	n, err := l.unended(ctx)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d of those that had ended have not", n)
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

// results is what each item's caller is told.
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

// log is the copy of the store's log, once that has all there is.
func (l *jobLoad) log(ctx context.Context) (log []history.Logged, last uint64, err error) {
	err = poll(ctx, "the copy of the log", func() error {
		bucket, err := l.js.Stream(ctx, "KV_"+jobsBucket)
		if err != nil {
			return err
		}
		last = bucket.CachedInfo().State.LastSeq
		copied, err := l.js.Stream(ctx, copyName)
		if err == nil && copied.CachedInfo().State.LastSeq < last {
			err = fmt.Errorf("it is at %d of %d", copied.CachedInfo().State.LastSeq, last)
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

// final reads every item from the store, by a client that knows nothing. A value is
// told by its number, as it is written.
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
