package jobs

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/subjects"
)

// apiTimeout bounds one question to JetStream.
const apiTimeout = 5 * time.Second

// consumerName names the durable consumer that all workers share.
const consumerName = "workers"

// streams holds the parts of JetStream that a Service uses.
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
		Discard:     jetstream.DiscardNew, // an accepted job stays
		Storage:     jetstream.FileStorage,
		Replicas:    s.config.Replicas,
		MaxBytes:    s.config.MaxBytes,
		// Jobs have no message ids, since the ledger finds duplicates. A server
		// accepts no shorter window.
		Duplicates: 100 * time.Millisecond,
		// The server reports accepted jobs to a worker, which enters them into
		// the ledger.
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
			MaxAckPending: -1, // jobs with a later start are pending too
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
		Discard:           jetstream.DiscardNew, // the status of a running job stays
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

// explain adds what to do when a stream cannot be made or opened.
func (s *Service) explain(err error, stream string) error {
	return jsapi.SetUp{
		Conn: s.config.Conn, Stream: stream, Settings: "jobs.stream, stream.replicas, jobs.max_bytes, jobs.max_status_bytes, jobs.max_dead_bytes",
		Room: ", or lower the limits (jobs.max_bytes, jobs.max_status_bytes, jobs.max_dead_bytes)", Without: ", or set jobs.enabled to false",
	}.Explain(err)
}

// acceptances returns the subjects on which the server reports accepted jobs:
// the subjects of the jobs with another beginning.
func (s *Service) acceptances(rest string) string {
	return s.config.Prefix.Coherence("job_accepted.") + rest
}
