//go:build simulation

package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/history"
	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/subjects"
)

// The settings of the simulated workers. As in real ones, a hold is longer than the time
// that a write may wait and take.
const (
	readTimeout  = 5 * time.Second
	writeTimeout = time.Second
	overtime     = time.Second // the most that a slow write takes beyond its limit
	hold         = writeTimeout + 2*coherence.DefaultLease + overtime
	replicas     = 3

	// With the fault uneven: those of every other worker.
	longWriteTimeout = 6 * time.Second
	longHold         = longWriteTimeout + 2*coherence.DefaultLease + overtime

	// With the fault leases: every other worker has this lease, and a write may wait for it.
	longLease  = 2 * coherence.DefaultLease
	leasesHold = hold + longLease
)

// world is one run.
type world struct {
	mode    coherence.Mode
	faults  *faults
	started time.Time
	journal *journal
	state   *state
	keyring *seal.Keyring
	history history.History
	ended   chan struct{} // closed at the end
	running sync.WaitGroup

	mu          sync.Mutex
	random      *rand.Rand
	processes   []*process // the running ones
	made        int
	counts      map[string]int
	hits        int64
	misses      int64
	flushes     int64
	propagation []time.Duration
	unseen      map[*subjects.Event]int
}

func newWorld(seed uint64, mode coherence.Mode, f *faults, keyring *seal.Keyring) *world {
	w := &world{
		mode: mode, faults: f, started: time.Now(), journal: newJournal(f.retention), keyring: keyring,
		ended: make(chan struct{}), random: rand.New(rand.NewPCG(seed, 1)), counts: make(map[string]int),
	}
	w.state = newState(w)
	coherence.AtRecheck = func() {
		if w.chance(f.stall) {
			w.count("stall")
			time.Sleep(time.Duration(w.float() * 6 * float64(time.Second)))
		}
	}
	return w
}

func (w *world) now() time.Duration { return time.Since(w.started) }

func (w *world) float() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.Float64()
}

func (w *world) chance(p float64) bool { return p > 0 && w.float() < p }

func (w *world) pick(n int) int { return int(w.float() * float64(n)) }

func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.float()*float64(b-a))
}

func (w *world) count(fault string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[fault]++
}

// quick is how long a message takes if nothing is wrong.
func (w *world) quick() time.Duration { return w.between(100*time.Microsecond, 2*time.Millisecond) }

// delay is how long a message takes in this run.
func (w *world) delay() time.Duration {
	if w.chance(w.faults.delayed) {
		w.count("delay")
		return w.between(0, w.faults.delay)
	}
	return w.quick()
}

func (w *world) storeDelay() time.Duration {
	if w.chance(w.faults.slow) {
		w.count("slow_store")
		return w.between(0, 4*time.Second)
	}
	return w.quick()
}

func (w *world) lag() time.Duration {
	if w.faults.lag == 0 {
		return 0
	}
	return w.between(1, w.faults.lag)
}

// process is one run of a worker.
type process struct {
	*manager.Manager
	w       *world
	name    string
	link    *link
	cache   *cache.Cache
	replica *coherence.Replica
	cancel  context.CancelFunc
	stopped chan struct{}

	writeTimeout, hold time.Duration

	clock atomic.Int64 // how far its clock is ahead of the world's, in nanoseconds

	mu      sync.Mutex
	crashed bool
	paused  chan struct{} // open while the process is paused, nil otherwise
}

var errCrashed = errors.New("the process is gone")

// start runs another worker.
func (w *world) start() *process {
	w.mu.Lock()
	w.made++
	p := &process{w: w, name: fmt.Sprintf("p%d", w.made), stopped: make(chan struct{}), writeTimeout: writeTimeout, hold: hold}
	longest, lease := hold, coherence.DefaultLease
	if w.faults.leases {
		longest, p.hold = leasesHold, leasesHold
		if w.made%2 == 0 {
			lease = longLease
		}
	}
	if w.faults.uneven {
		longest = longHold
		if w.made%2 == 0 {
			p.writeTimeout, p.hold = longWriteTimeout, longHold
		}
	}
	w.mu.Unlock()
	if w.faults.clocks {
		p.setClock()
	}
	p.link = newLink(w, p)
	p.cache, _ = cache.New(cache.Config{Entries: 100, TTL: time.Hour, NegativeTTL: time.Hour})
	logger := slog.New(slog.DiscardHandler)
	p.replica = coherence.NewReplica(p.link, p.cache, coherence.Config{Name: p.name, Mode: w.mode, Lease: lease, LongestLease: w.longestLease(), Hold: p.hold, Longest: longest, Lag: w.faults.lag, Logger: logger})
	p.Manager, _ = manager.New(manager.Config{
		RecordsConfig: manager.RecordsConfig{
			Store: &processStore{Store: w.state.Store, state: w.state, process: p}, Keyring: w.keyring, Replica: p.replica,
			ReadTimeout: readTimeout, Logger: logger,
		},
		ReaderConfig: manager.ReaderConfig{Cache: p.cache, NegativeCaching: true},
		WriterConfig: manager.WriterConfig{WriteTimeout: p.writeTimeout},
	})
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { defer close(p.stopped); p.replica.Run(ctx) }()
	w.mu.Lock()
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	return p
}

// longestLease is the longest lease of the workers of this run.
func (w *world) longestLease() time.Duration {
	if w.faults.leases {
		return longLease
	}
	return coherence.DefaultLease
}

// pass is called wherever a process has contact with the outside. It waits while the
// process is paused, and fails once the process has crashed.
func (p *process) pass() error {
	for {
		p.mu.Lock()
		crashed, paused := p.crashed, p.paused
		p.mu.Unlock()
		if crashed {
			return errCrashed
		}
		if paused == nil {
			return nil
		}
		<-paused
	}
}

func (p *process) pause(d time.Duration) {
	p.mu.Lock()
	if p.paused != nil || p.crashed {
		p.mu.Unlock()
		return
	}
	paused := make(chan struct{})
	p.paused = paused
	p.mu.Unlock()
	p.w.count("pause")
	time.Sleep(d)
	p.mu.Lock()
	p.paused = nil
	close(paused)
	p.mu.Unlock()
}

// setClock sets the clock of a process to anywhere within an hour. Others see of that clock
// only the times that the process sends.
func (p *process) setClock() { p.clock.Store(int64(p.w.between(-time.Hour, time.Hour))) }

// crash ends a process between two instructions.
func (p *process) crash() {
	p.mu.Lock()
	p.crashed = true
	p.mu.Unlock()
	p.leave()
}

// stop ends a process in good order, after its requests.
func (p *process) stop() {
	p.w.forget(p)
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if p.w.chance(0.7) {
		_ = p.replica.Leave(ctx)
	}
	p.leave()
}

func (p *process) leave() {
	p.w.forget(p)
	p.cancel()
	stats := p.cache.Stats()
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.hits += int64(stats.Hits)
	p.w.misses += int64(stats.Misses)
	p.w.flushes += p.replica.Flushes()
}

func (w *world) forget(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.processes {
		if other == p {
			w.processes = append(w.processes[:i:i], w.processes[i+1:]...)
			return
		}
	}
}

// any returns a running process, nil if there is none.
func (w *world) any() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.processes) == 0 {
		return nil
	}
	return w.processes[w.random.IntN(len(w.processes))]
}

func (w *world) all() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*process(nil), w.processes...)
}

func (w *world) linkOf(name string) *link {
	for _, p := range w.all() {
		if p.name == name {
			return p.link
		}
	}
	return nil
}

// beforeAppend names the step of a write just before an entry.
func beforeAppend(e *subjects.Event) string {
	switch e.Kind {
	case coherence.Intent:
		return "before_intent"
	case subjects.EventStored, subjects.EventDeleted:
		return "before_done"
	}
	return ""
}

// crashes ends the process at a step of a write, if the seed says so, and starts another
// one.
func (w *world) crashes(p *process, step string) bool {
	if step == "" || !w.chance(w.faults.crash) || len(w.all()) < 2 {
		return false
	}
	w.count("crash_" + step)
	p.crash()
	w.running.Go(func() {
		sleepUnless(w.ended, w.between(100*time.Millisecond, 2*time.Second))
		w.start()
	})
	return true
}

// delivered measures how long the end of a write takes to reach every replica.
func (w *world) delivered(p *process, e *journalEntry) {
	if !w.faults.none || beforeAppend(e.event) != "before_done" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unseen == nil {
		w.unseen = make(map[*subjects.Event]int)
	}
	if w.unseen[e.event]++; w.unseen[e.event] == replicas {
		delete(w.unseen, e.event)
		w.propagation = append(w.propagation, time.Since(e.at))
	}
}

func sleepUnless(ended <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ended:
		return false
	}
}

// run runs clients and faults for d.
func (w *world) run(t *testing.T, d time.Duration) {
	for range replicas {
		w.start()
	}
	time.Sleep(100 * time.Millisecond)
	w.clients()
	w.running.Go(func() { w.faults.run(w) })
	time.Sleep(d)
	close(w.ended)
	for _, p := range w.all() { // what waits for a link can pass
		p.link.set(true)
	}
	w.running.Wait()
	for _, p := range w.all() {
		p.leave()
		<-p.stopped
	}
	time.Sleep(4 * longHold) // what still runs can end
}
