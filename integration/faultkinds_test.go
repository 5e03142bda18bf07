//go:build faults

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/client"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// lease is the time after which a replica that is cut off from the stream no longer answers
// from its cache.
const lease = 2 * time.Second

// fault is something that goes wrong. strike makes it happen once, from beginning to end.
// It returns without error only if the fault was seen to happen.
type fault struct {
	name   string
	strike func(ctx context.Context, b *faultBed, round int) error
	// before and after prepare the bed for all rounds, and undo that.
	before, after func(ctx context.Context, b *faultBed) error
	// recovered returns once the bed works after a strike. nil: awaitAll.
	recovered func(ctx context.Context, b *faultBed) error
}

// faults are the faults of all beds, in their order.
var faults = []fault{
	{name: "cut", strike: cutWorker},
	{name: "server_cut", strike: cutServer},
	{name: "pause", strike: pauseWorker},
	{name: "kill", strike: awaitKill, before: armKill, after: disarmKill, recovered: reviveDoomed},
	{name: "restart", strike: restartServer},
	{name: "recreate", strike: recreateStream},
	{name: "slow_consumer", strike: starveWorker},
}

// between is how long the load runs between two strikes.
const between = 3 * time.Second

// lasts lets the load run while something is wrong. It waits for no event: the clients must
// notice the fault themselves.
func lasts(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// cutWorker cuts one worker off from everything. Messages to it meanwhile come late, or
// never.
func cutWorker(ctx context.Context, b *faultBed, round int) error {
	i := round % len(b.workers)
	w := b.workers[i]
	return b.inner.without(ctx, w.ID, w.name, workerNumber(i), func() error {
		if err := b.silent(ctx, b.serverOf(i), w); err != nil {
			return err
		}
		return lasts(ctx, 5*time.Second)
	})
}

// cutServer cuts a server off from the others. Its worker and its clients still use it, so
// only the lease keeps that worker from answering from its cache. If a bed has only one
// server, that is cut off from the workers instead.
func cutServer(ctx context.Context, b *faultBed, round int) error {
	i := round % len(b.servers)
	s := b.servers[i]
	if len(b.servers) == 1 {
		return b.inner.without(ctx, s.ID, s.name, s.number, func() error {
			if err := b.silent(ctx, s, b.workers...); err != nil {
				return err
			}
			return lasts(ctx, 4*time.Second)
		})
	}
	return b.routes.without(ctx, s.ID, s.name, s.number, func() error {
		if err := b.silent(ctx, b.serverOf(i+1), b.workers[i]); err != nil {
			return err
		}
		// And its own clients still reach it.
		if err := b.seenFrom(s).await(ctx, b.workers[i]); err != nil {
			return err
		}
		return lasts(ctx, 7*time.Second)
	})
}

// pauseWorker stops a process for longer than three leases.
func pauseWorker(ctx context.Context, b *faultBed, round int) error {
	i := round % len(b.workers)
	return b.paused(ctx, i, func() error { return lasts(ctx, 3*lease+time.Second) })
}

func (b *faultBed) paused(ctx context.Context, i int, meanwhile func() error) error {
	w := b.workers[i]
	if _, err := b.engine.docker.ContainerPause(ctx, w.ID, client.ContainerPauseOptions{}); err != nil {
		return err
	}
	err := b.silent(ctx, b.serverOf(i), w)
	if err == nil {
		err = meanwhile()
	}
	// Also after an error: the next step needs it.
	_, ending := b.engine.docker.ContainerUnpause(context.WithoutCancel(ctx), w.ID, client.ContainerUnpauseOptions{})
	return errors.Join(err, ending)
}

// doomed is the worker that kills itself.
const doomed = 1

func armKill(ctx context.Context, b *faultBed) error {
	return b.replaceWorker(ctx, doomed, map[string]string{"CREDBUS_FAILPOINT_KILL_AFTER_STORE": "0.02"})
}

func disarmKill(ctx context.Context, b *faultBed) error { return b.replaceWorker(ctx, doomed, nil) }

// awaitKill returns a second after a worker has killed itself between a write to the store and
// its done event.
func awaitKill(ctx context.Context, b *faultBed, _ int) error {
	const killed = 128 + 9
	w := b.workers[doomed]
	short, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := poll(short, w.name, func() error {
		state, err := w.State(short)
		if err == nil && state.Running {
			err = fmt.Errorf("has not killed itself after a write to the store")
		}
		if err == nil && state.ExitCode != killed {
			err = fmt.Errorf("ended with exit code %d", state.ExitCode)
		}
		return err
	})
	if err != nil {
		return err
	}
	return lasts(ctx, time.Second)
}

// reviveDoomed starts the worker that has killed itself. It may do so again before anybody has
// seen it serve, and is started again then.
func reviveDoomed(ctx context.Context, b *faultBed) error {
	return poll(ctx, "workers", func() error {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return errors.Join(b.restartWorker(short, b.workers[doomed]), b.awaitAll(short))
	})
}

// restartServer stops a server and starts it again: in turn the leader of the stream and
// another one.
func restartServer(ctx context.Context, b *faultBed, round int) error {
	leader, err := b.leader(ctx)
	if err != nil {
		return err
	}
	if round%2 == 1 {
		leader = (leader + 1) % len(b.servers)
	}
	s := b.servers[leader]
	patience := 10 * time.Second
	if err := s.Stop(ctx, &patience); err != nil {
		return err
	}
	state, err := s.State(ctx)
	if err == nil && state.Running {
		err = fmt.Errorf("%s did not stop", s.name)
	}
	if err == nil {
		err = lasts(ctx, 2*time.Second)
	}
	return errors.Join(err, s.Start(context.WithoutCancel(ctx)))
}

// leader returns the number of the server that leads the stream.
func (b *faultBed) leader(ctx context.Context) (leader int, err error) {
	if len(b.servers) == 1 {
		return 0, nil
	}
	err = poll(ctx, "leader of the stream", func() error {
		info, err := b.streamInfo(ctx)
		if err != nil {
			return err
		}
		for i, s := range b.servers {
			if info.Cluster != nil && info.Cluster.Leader == s.name {
				leader = i
				return nil
			}
		}
		return fmt.Errorf("none is known")
	})
	return leader, err
}

const streamName = "CREDBUS"

// streamInfo asks the first server that answers.
func (b *faultBed) streamInfo(ctx context.Context) (info *jetstream.StreamInfo, err error) {
	for _, s := range b.servers {
		var js jetstream.JetStream
		if js, err = jetstream.New(s.nc); err != nil {
			return nil, err
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		var stream jetstream.Stream
		stream, err = js.Stream(short, streamName)
		cancel()
		if err == nil {
			return stream.CachedInfo(), nil
		}
	}
	return nil, err
}

// recreateStream deletes the stream while the workers run, which create another one.
func recreateStream(ctx context.Context, b *faultBed, _ int) error {
	before, err := b.streamInfo(ctx)
	if err != nil {
		return err
	}
	js, err := jetstream.New(b.nc)
	if err != nil {
		return err
	}
	if err := js.DeleteStream(ctx, streamName); err != nil {
		return err
	}
	err = poll(ctx, "the stream made anew", func() error {
		after, err := b.streamInfo(ctx)
		if err == nil && !after.Created.After(before.Created) {
			err = fmt.Errorf("it is still the old one")
		}
		return err
	})
	if err != nil {
		return err
	}
	return lasts(ctx, 2*time.Second)
}

// starveWorker sends a worker that does not read more than its connection can take, until
// the server closes the connection.
func starveWorker(ctx context.Context, b *faultBed, round int) error {
	const (
		complaint = "Slow Consumer"
		piece     = 512 << 10
	)
	i := round % len(b.workers)
	s := b.serverOf(i)
	count := func() (n int) {
		for line := range bytes.Lines(logsOf(ctx, s.name, s.DockerContainer)) {
			if bytes.Contains(line, []byte(complaint)) && bytes.Contains(line, []byte(b.workers[i].name)) {
				n++
			}
		}
		return n
	}
	before := count()
	// It is no message of the protocol: the other replicas count it as malformed. It goes to
	// all replicas, and so also to the paused one.
	nothing := make([]byte, piece)
	subject := subjects.DefaultPrefix.Coherence("report")
	return b.paused(ctx, i, func() error {
		short, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return poll(short, "slow consumer", func() error {
			if count() > before {
				return lasts(ctx, lease)
			}
			for range 8 {
				if err := s.nc.PublishRequest(subject, s.nc.NewInbox(), nothing); err != nil {
					return err
				}
			}
			if err := s.nc.FlushTimeout(5 * time.Second); err != nil {
				return err
			}
			return fmt.Errorf("%s has not cut it off", s.name)
		})
	})
}
