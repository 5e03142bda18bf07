package worker

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/clock"
	"credbus/internal/health"
	"credbus/subjects"
)

// startClock compares this machine's clock with that of the NATS server, now and until
// the worker stops following. All workers ask the server that leads the event stream, so
// they are compared with each other as well. A wrong clock stops no start: docs/adr/0024
// says why.
func (w *Worker) startClock(ctx context.Context) error {
	js, err := jetstream.New(w.conn)
	if err != nil {
		return err
	}
	w.clock = clock.New(clock.Config{
		Ask: func(ctx context.Context) (time.Time, error) {
			stream, err := js.Stream(ctx, w.config.Stream.Name)
			if err != nil {
				return time.Time{}, err
			}
			return stream.CachedInfo().TimeStamp, nil
		},
		Now: w.localTime, Max: w.config.Clock.MaxSkew, Changed: w.clockChanged,
		Failed: func(err error) {
			w.logger.Debug("the clock cannot be compared with the NATS server's now", "error", err)
		},
	})
	reconnected := w.conn.StatusChanged(nats.CONNECTED)
	w.clock.Measure(ctx) //nolint:errcheck // it is measured again in a moment
	follow, stop := context.WithCancel(context.Background())
	before := w.stopFollowing
	w.stopFollowing = func() { before(); stop() }
	w.following.Go(func() {
		defer w.conn.RemoveStatusListener(reconnected)
		clock.Run(follow, w.clock, reconnected)
	})
	return nil
}

const setClock = "set the clock with NTP, here or on the NATS server; if all replicas differ alike (credbus deployment), it is the server's"

func (w *Worker) clockChanged(reading clock.Reading) {
	log := w.logger.With("clock", reading.String(), "clock.max_skew", w.config.Clock.MaxSkew)
	switch reading.State {
	case clock.Exceeds:
		log.Error("the clock of this machine is further from that of the NATS server than clock.max_skew: this worker is not ready until they agree; " + setClock)
	case clock.Differs:
		log.Warn("the clock of this machine disagrees with that of the NATS server: credentials expire too early or too late; " + setClock)
	default:
		log.Info("the clock of this machine agrees with that of the NATS server again")
	}
}

// clockProblem is what a wrong clock keeps the worker from, if it is wrong.
func (w *Worker) clockProblem() (problem health.Problem, wrong bool) {
	reading, measured := w.clock.Last()
	if !measured || reading.State == clock.Agrees {
		return health.Problem{}, false
	}
	return health.Problem{Part: "clock", State: reading.String() + ": set it with NTP", Warning: reading.State != clock.Exceeds}, true
}

// clockFact is for operators, who compare it between replicas.
func (w *Worker) clockFact() subjects.Fact {
	value := "unknown"
	if reading, measured := w.clock.Last(); measured {
		value = reading.String()
	}
	return subjects.Fact{Name: "clock", Value: value}
}
