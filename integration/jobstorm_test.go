//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/nats-io/nats.go/jetstream"
)

// storm is faults at random, for each worker and the servers at the same time. The seed
// decides which fault hits which part, in which order and for how long. It does not decide
// what the bed is doing meanwhile.
type storm struct {
	t    *testing.T
	bed  *faultBed
	seed uint64

	start   time.Time
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	begun  int            // how many have begun
	struck map[string]int // how often each has happened
}

// strike is a fault of one worker or server for a time. It ends early when the storm ends,
// and has repaired its damage when it returns.
type strike struct {
	name        string
	least, most time.Duration
	do          func(ctx context.Context, b *faultBed, i int, d time.Duration) error
}

// The longer strikes outlast the queue's patience with a silent worker (see jobSettings), the
// shorter ones do not.
var (
	workerStrikes = []strike{
		{"kill", 100 * time.Millisecond, 5 * time.Second, killWorker},
		{"pause", 2 * time.Second, 40 * time.Second, func(ctx context.Context, b *faultBed, i int, d time.Duration) error {
			return b.paused(ctx, i, func() error { return lasts(ctx, d) })
		}},
		{"cut", 2 * time.Second, 20 * time.Second, func(ctx context.Context, b *faultBed, i int, d time.Duration) error {
			w := b.workers[i]
			return b.inner.without(ctx, w.ID, w.name, workerNumber(i), func() error {
				if err := b.silent(ctx, b.serverOf(i), w); err != nil {
					return err
				}
				return lasts(ctx, d)
			})
		}},
	}
	serverStrikes = []strike{
		{"restart", 100 * time.Millisecond, 4 * time.Second, signalServer("SIGTERM")},
		{"restart", 100 * time.Millisecond, 4 * time.Second, signalServer("SIGKILL")},
	}
)

const (
	stormFaults = 20 // at least
	kindFaults  = 3  // of each kind, at least
)

// startStorm returns a storm that goes on until end.
func startStorm(ctx context.Context, t *testing.T, b *faultBed, seed uint64) *storm {
	s := &storm{t: t, bed: b, seed: seed, start: time.Now(), struck: make(map[string]int)}
	ctx, s.stop = context.WithCancel(ctx)
	for i, w := range b.workers {
		s.running.Go(func() {
			s.blow(ctx, uint64(i), workerStrikes, 4*time.Second, func(*rand.Rand) (int, string) { return i, w.name }, b.awaitBack)
		})
	}
	quiet := 12 * time.Second
	if len(b.servers) > 1 {
		quiet = 30 * time.Second // meanwhile it elects leaders, which takes seconds each time
	}
	s.running.Go(func() {
		s.blow(ctx, faultWorkers, serverStrikes, quiet, func(r *rand.Rand) (int, string) {
			i := r.IntN(len(b.servers))
			return i, b.servers[i].name
		}, b.awaitServer)
	})
	return s
}

// end returns when every fault is repaired. It may be called twice.
func (s *storm) end() {
	s.stop()
	s.running.Wait()
}

// blow makes one strike follow another, with this pause on average: each of strikes once, in
// random order, and then again. The next one hits a part that works again.
func (s *storm) blow(ctx context.Context, source uint64, strikes []strike, pause time.Duration,
	whom func(*rand.Rand) (i int, name string), back func(ctx context.Context, i int) error) {
	random := rand.New(rand.NewPCG(s.seed, source))
	for {
		for _, n := range random.Perm(len(strikes)) {
			k := strikes[n]
			i, name := whom(random)
			// The logarithm is uniform: short times are as likely as long ones.
			d := time.Duration(float64(k.least) * math.Pow(float64(k.most)/float64(k.least), random.Float64()))
			if lasts(ctx, pause/2+time.Duration(random.Int64N(int64(pause)))) != nil {
				return
			}
			s.t.Logf("%v: %s %s for %v", time.Since(s.start).Round(time.Millisecond), k.name, name, d.Round(time.Millisecond))
			s.begins()
			short, cancel := context.WithTimeout(ctx, d+strikeLimit)
			err := k.do(short, s.bed, i, d)
			cancel()
			if err == nil {
				s.happened(k.name)
			}
			if err == nil || ctx.Err() != nil {
				// Also after an error: what comes after the storm needs it.
				short, cancel := context.WithTimeout(context.WithoutCancel(ctx), strikeLimit)
				err = back(short, i)
				cancel()
			}
			if err != nil {
				s.t.Errorf("%s %s: %v", k.name, name, err)
				return
			}
		}
	}
}

func (s *storm) begins() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
}

func (s *storm) happened(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.struck[name]++
}

// count is how many faults have begun, and whether enough have happened.
func (s *storm) count() (begun int, enough bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for _, times := range s.struck {
		total += times
	}
	enough = total >= stormFaults
	for _, k := range slices.Concat(workerStrikes, serverStrikes) {
		enough = enough && s.struck[k.name] >= kindFaults
	}
	return s.begun, enough
}

func killWorker(ctx context.Context, b *faultBed, i int, d time.Duration) error {
	if err := b.kill(ctx, b.workers[i]); err != nil {
		return err
	}
	return lasts(ctx, d)
}

// signalServer ends a server, in good order or as a crash does, and starts it again.
func signalServer(signal string) func(context.Context, *faultBed, int, time.Duration) error {
	return func(ctx context.Context, b *faultBed, i int, d time.Duration) error {
		s := b.servers[i]
		if _, err := b.engine.docker.ContainerKill(ctx, s.ID, client.ContainerKillOptions{Signal: signal}); err != nil {
			return err
		}
		// Also after an error: the next step needs it.
		settled := context.WithoutCancel(ctx)
		short, cancel := context.WithTimeout(settled, strikeLimit)
		defer cancel()
		err := poll(short, s.name, func() error {
			state, err := s.State(short)
			if err == nil && state.Running {
				err = errors.New("it has not ended")
			}
			return err
		})
		if err == nil {
			err = lasts(ctx, d)
		}
		return errors.Join(err, s.Start(settled))
	}
}

// awaitServer returns once JetStream answers through a server.
func (b *faultBed) awaitServer(ctx context.Context, i int) error {
	js, err := jetstream.New(b.servers[i].nc)
	if err != nil {
		return err
	}
	return poll(ctx, b.servers[i].name, func() error {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := js.AccountInfo(short)
		return err
	})
}

// awaitBack returns once a worker serves. A worker that has ended, or gives up because it
// finds no server, is started again.
func (b *faultBed) awaitBack(ctx context.Context, i int) error {
	const listen = 3 * time.Second
	w := b.workers[i]
	return poll(ctx, w.name, func() error {
		if err := b.restartWorker(ctx, w); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, listen)
		defer cancel()
		if err := b.seenFrom(b.serverOf(i)).await(short, w); err != nil {
			return fmt.Errorf("it does not serve: %w", err)
		}
		return nil
	})
}
