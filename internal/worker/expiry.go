package worker

import (
	"context"

	"credbus/internal/expiry"
	"credbus/subjects"
)

// marksSuffix makes the name of the stream of what was told of expiry from that
// of the event stream.
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

// startExpiry has the worker look for credentials that expire, until it stops
// following. The manager proves what the lists say.
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
	ctx, stop := context.WithCancel(context.Background())
	before := w.stopFollowing
	w.stopFollowing = func() { before(); stop() }
	w.following.Go(func() { watch.Run(ctx) })
	return nil
}
