package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/subjects"
)

// apiTimeout bounds one question to JetStream.
const apiTimeout = 5 * time.Second

// consumerName is that of the durable consumer which all workers share.
const consumerName = "workers"

// streams are what a Service needs of JetStream.
type streams struct {
	queue, statuses, dead jetstream.Stream
	consumer              jetstream.Consumer
}

func (s *Service) openStream(ctx context.Context, config jetstream.StreamConfig, bytesSetting string) (jetstream.Stream, error) {
	spec := s.config.spec(config)
	spec.BytesSetting = bytesSetting
	if config.Name == s.config.Stream {
		spec = s.config.queueSpec(spec)
	}
	stream, err := jsapi.Ensure(ctx, s.js, spec)
	if err != nil {
		err = s.explain(err, config.Name)
	}
	return stream, err
}

// openStreams makes the streams and the consumer, or brings them up to date.
func (s *Service) openStreams(ctx context.Context) (opened streams, err error) {
	opened.queue, err = s.openStream(ctx, jetstream.StreamConfig{
		Name:        s.config.Stream,
		Description: "credbus: batch jobs that are not done",
		Subjects:    []string{s.config.Prefix.QueuedJob(s.config.Prefix.Jobs())},
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew, // a job that was accepted is kept
		Storage:     jetstream.FileStorage,
		Replicas:    s.config.Replicas,
		MaxBytes:    s.config.MaxBytes,
		// Jobs have no message ids, since the ledger finds duplicates. This is the shortest
		// window that a server accepts.
		Duplicates: 100 * time.Millisecond,
		// What was accepted is told to a worker, which enters it into the ledger.
		RePublish: &jetstream.RePublish{Source: s.config.Prefix.QueuedJob(s.config.Prefix.Jobs()), Destination: s.acceptances(">")},
	}, "jobs.max_bytes")
	if err != nil {
		return opened, err
	}
	opened.consumer, err = jsapi.Ask(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return opened.queue.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:       consumerName,
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       s.config.AckWait,
			MaxDeliver:    -1, // attempts are counted in the ledger
			MaxAckPending: -1, // those that wait for their time are pending too
		})
	})
	if err != nil {
		return opened, s.explain(err, s.config.Stream)
	}
	opened.statuses, err = s.openStream(ctx, jetstream.StreamConfig{
		Name:              s.config.Stream + "_STATUS",
		Description:       "credbus: how each batch job stands",
		Subjects:          []string{s.config.Prefix.Coherence(ledgerToken + ">")},
		RePublish:         &jetstream.RePublish{Source: s.config.Prefix.Coherence(ledgerToken + ">"), Destination: s.config.Prefix.JobStatuses(subjects.Root)},
		MaxMsgsPerSubject: 1,
		MaxAge:            s.config.Keep,
		MaxBytes:          s.config.MaxStatusBytes,
		Discard:           jetstream.DiscardNew, // what is known of a job that runs is kept
		Storage:           jetstream.FileStorage,
		Replicas:          s.config.Replicas,
		AllowDirect:       true,
	}, "jobs.max_status_bytes")
	if err != nil {
		return opened, err
	}
	opened.dead, err = s.openStream(ctx, jetstream.StreamConfig{
		Name:              s.config.Stream + "_DEAD",
		Description:       "credbus: batch jobs that were given up",
		Subjects:          []string{s.config.Prefix.Coherence(deadToken + ">")},
		MaxMsgsPerSubject: 1,
		MaxAge:            s.config.KeepDead,
		MaxBytes:          s.config.MaxDeadBytes, // the oldest go
		Storage:           jetstream.FileStorage,
		Replicas:          s.config.Replicas,
		AllowDirect:       true,
	}, "jobs.max_dead_bytes")
	return opened, err
}

// explain says what to do about a stream that cannot be had.
func (s *Service) explain(err error, stream string) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("the NATS server at %s has no JetStream for this account: enable it, or set jobs.enabled to false", s.config.Conn.ConnectedUrlRedacted())
	case jsapi.IsFull(err):
		return fmt.Errorf("the NATS servers have no room to reserve for stream %s: give the account, or the disk, more, or set less (jobs.max_bytes, jobs.max_status_bytes, jobs.max_dead_bytes), or set jobs.enabled to false: %w", stream, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("JetStream did not answer in time about stream %s: does the account of this worker have permission for $JS.API.>, and has the cluster a leader?", stream)
	}
	return fmt.Errorf("set up stream %s (jobs.stream, stream.replicas, jobs.max_bytes, jobs.max_status_bytes, jobs.max_dead_bytes): %w", stream, err)
}

// acceptances are the subjects on which the server tells which jobs it accepted:
// that of the job, with another beginning.
func (s *Service) acceptances(rest string) string {
	return s.config.Prefix.Coherence("job_accepted.") + rest
}
