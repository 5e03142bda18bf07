package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/coherence"
	"credbus/internal/config"
	"credbus/internal/jobs"
	"credbus/internal/jsapi"
	"credbus/internal/once"
	"credbus/internal/sealkeys"
)

func (w *Worker) eventsConfig() coherence.StreamConfig {
	return coherence.StreamConfig{
		Name:     w.config.Stream.Name,
		Prefix:   w.config.NATS.Prefix,
		Replicas: w.config.Stream.Replicas,
		MaxAge:   w.config.Stream.MaxAge,
		MaxBytes: int64(w.config.Stream.MaxBytes),
		Logger:   w.logger,
	}
}

// checkStreams stops a start that would use a stream of another deployment,
// before the start changes anything. Other faults of a stream are reported by
// the part that uses it.
func (w *Worker) checkStreams(ctx context.Context) error {
	const patience = time.Second // a missing permission looks like silence
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	js, err := jetstream.New(w.conn)
	if err != nil {
		return err
	}
	specs := []jsapi.Spec{w.eventsConfig().Spec(), w.deploymentConfig().Spec(), sealkeys.Spec(w.keysConfig())}
	if w.config.Expiry.Interval > 0 {
		specs = append(specs, w.marksConfig().Spec())
	}
	if w.config.Jobs.Enabled {
		specs = append(specs, jobs.Specs(jobs.Config{Prefix: w.config.NATS.Prefix, Stream: w.config.Jobs.Stream, Logger: w.logger})...)
	}
	if w.config.Audit.ToStream() {
		specs = append(specs, w.auditStreamConfig().Spec())
	}
	for _, spec := range specs {
		if refused, ok := errors.AsType[*jsapi.Refusal](jsapi.Check(ctx, js, spec)); ok {
			return refused
		}
	}
	for name, c := range w.config.AllStores() {
		if c.Type != "jetstream" {
			continue
		}
		spec := bucketConfig(w, c).Spec()
		spec.Setting = config.StoreKey(name) + ".bucket" // the setting of the store that names it
		if refused, ok := errors.AsType[*jsapi.Refusal](jsapi.Check(ctx, js, spec)); ok {
			return fmt.Errorf("bucket %s (%s): %w", c.Bucket, spec.Setting, refused)
		}
	}
	return nil
}

// openMessages opens the record of sealed messages. An embedded server runs alone.
func (w *Worker) openMessages(ctx context.Context) (err error) {
	w.messages, err = once.Open(ctx, once.Config{
		Conn: w.conn, Prefix: w.config.NATS.Prefix, Stream: w.config.Stream.Name + "_ONCE", Replicas: w.config.Stream.Replicas,
		Volatile: w.server != nil, Now: w.serverTime,
	})
	return err
}
