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

// checkStreams stops a start that would use a stream of another deployment, before
// anything is changed. Whatever else is wrong with a stream, the part that needs it
// finds, and says what it means.
func (w *Worker) checkStreams(ctx context.Context) error {
	const patience = time.Second // a permission that is missing looks like silence
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	js, err := jetstream.New(w.conn)
	if err != nil {
		return err
	}
	specs := []jsapi.Spec{w.eventsConfig().Spec(), w.deploymentConfig().Spec()}
	if w.config.Expiry.Interval > 0 {
		specs = append(specs, w.marksConfig().Spec())
	}
	if w.config.Jobs.Enabled {
		specs = append(specs, jobs.Specs(jobs.Config{Prefix: w.config.NATS.Prefix, Stream: w.config.Jobs.Stream, Logger: w.logger})...)
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
		spec.Setting = config.StoreKey(name) + ".bucket" // of the store that names it
		if refused, ok := errors.AsType[*jsapi.Refusal](jsapi.Check(ctx, js, spec)); ok {
			return fmt.Errorf("bucket %s (%s): %w", c.Bucket, spec.Setting, refused)
		}
	}
	return nil
}
