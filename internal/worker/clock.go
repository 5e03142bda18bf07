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

// startClock compares this machine's clock with that of the NATS server, now
// and until the worker stops following. All workers ask the server that leads
// the event stream, so this also compares them with each other. A wrong clock
// does not stop the start: docs/adr/0024 gives the reasons.
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
	w.clock.Measure(ctx) //nolint:errcheck // follow measures again in a moment
	w.following.Go(func(ctx context.Context) {
		defer w.conn.RemoveStatusListener(reconnected)
		clock.Run(ctx, w.clock, reconnected)
	})
	return nil
}

// serverTime is the time of the NATS server as far as it is known, in whole milliseconds as
// in messages.
func (w *Worker) serverTime() time.Time {
	reading, _ := w.clock.Last() // without an offset before the first measurement
	return w.localTime().Add(reading.Offset).UTC().Truncate(time.Millisecond)
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

// clockProblem returns the health problem of a wrong clock, if the clock is
// wrong.
func (w *Worker) clockProblem() (problem health.Problem, wrong bool) {
	reading, measured := w.clock.Last()
	if !measured || reading.State == clock.Agrees {
		return health.Problem{}, false
	}
	return health.Problem{Part: "clock", State: reading.String() + ": set it with NTP", Warning: reading.State != clock.Exceeds}, true
}

// clockFact returns the clock's offset, for operators who compare replicas.
func (w *Worker) clockFact() subjects.Fact {
	value := "unknown"
	if reading, measured := w.clock.Last(); measured {
		value = reading.String()
	}
	return subjects.Fact{Name: "clock", Value: value}
}
