package worker

import (
	"context"

	"credbus/internal/expiry"
	"credbus/subjects"
)

// marksSuffix, after the name of the event stream, names the stream that
// records which expiries were announced.
const marksSuffix = "_EXPIRY"

func (w *Worker) marksConfig() expiry.StreamConfig {
	return expiry.StreamConfig{
		Name:     w.config.Stream.Name + marksSuffix,
		Prefix:   w.config.NATS.Prefix,
		Worker:   w.name,
		Replicas: w.config.Stream.Replicas,
		MaxBytes: int64(w.config.Stream.MaxBytes),
		Logger:   w.logger,
	}
}

// startExpiry looks for expiring credentials until the worker stops following.
// The manager authenticates the entries of the lists.
func (w *Worker) startExpiry(context.Context) error {
	if w.config.Expiry.Interval == 0 {
		return nil
	}
	marks, err := expiry.NewStream(w.conn, w.marksConfig())
	if err != nil {
		return err
	}
	stores, byName := make(map[string]expiry.Lister), w.storesByName()
	for _, name := range w.store.Routed(subjects.Root) {
		stores[name] = w.manager.Verified(byName[name])
	}
	watch := expiry.New(expiry.Config{
		Stores: stores, Keeper: w.store.Name, Events: w.stream, Marks: marks, Worker: w.name,
		Interval: w.config.Expiry.Interval, Ahead: w.config.Expiry.Ahead, Logger: w.logger,
	})
	w.following.Go(watch.Run)
	return nil
}
