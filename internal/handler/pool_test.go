package handler

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

func TestPoolBounds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newPool(2, 3, 200, 1<<30)
		var running, ran atomic.Int64
		release := make(chan struct{})
		submit := func(bytes int) bool {
			return p.submit(single, bytes, func() { running.Add(1); <-release; running.Add(-1); ran.Add(1) })
		}
		for n := range 5 { // two run, three wait
			if !submit(10) {
				t.Fatalf("request %d is refused", n)
			}
		}
		synctest.Wait()
		if n := running.Load(); n != 2 {
			t.Errorf("%d run at once, want 2", n)
		}
		if submit(1) {
			t.Error("a sixth request is accepted")
		}
		release <- struct{}{}
		synctest.Wait()
		if submit(61) {
			t.Error("with 40 of 100 bytes in use, 61 are accepted")
		}
		if !submit(60) {
			t.Error("with 40 of 100 bytes in use, 60 are refused")
		}
		close(release)
		p.wait()
		if n := ran.Load(); n != 6 {
			t.Errorf("%d ran, want 6", n)
		}
		if !p.submit(single, 101, func() {}) {
			t.Error("a request over the limit is refused, although nothing waits")
		}
		p.wait()
		wantIdle(t, p)
	})
}

// wantIdle checks that an idle pool has no requests, and its whole budget.
func wantIdle(t *testing.T, p *pool) {
	t.Helper()
	for name, s := range map[string]*share{"heavy": &p.heavy, "light": &p.light} {
		if s.taken != 0 || s.bytes != 0 || !s.budget.TryAcquire(s.maxWeight) {
			t.Errorf("%s: an idle pool has %d requests and %d bytes, or memory in use", name, s.taken, s.bytes)
			continue
		}
		s.budget.Release(s.maxWeight)
	}
}

// TestPoolBudget: as many heavy requests run at once as their share of the memory allows,
// whatever the number of workers. More wait, and further ones are refused. Requests on a
// single credential run meanwhile. In the end all waiting requests run.
func TestPoolBudget(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const atOnce = 4
		p := newPool(100, 40, 1<<30, atOnce*heavyWeight*4/3+4)
		var running, ran, light atomic.Int64
		release := make(chan struct{})
		taken := 0
		for p.submit(many, 0, func() { running.Add(1); <-release; ran.Add(1) }) {
			taken++
		}
		synctest.Wait()
		if taken != 130 || running.Load() != atOnce {
			t.Errorf("%d are accepted and %d run at once, want 130 and %d", taken, running.Load(), atOnce)
		}
		for range 100 {
			if !p.submit(single, 1000, func() { light.Add(1) }) {
				t.Fatal("a request on a single credential is refused")
			}
		}
		synctest.Wait()
		if n := light.Load(); n != 100 {
			t.Errorf("%d of 100 requests on a single credential were answered while heavy ones ran", n)
		}
		close(release)
		p.wait()
		if n := ran.Load(); n != int64(taken) {
			t.Errorf("%d of %d ran", n, taken)
		}
		wantIdle(t, p)
	})
}

// A request that is larger than the budget runs alone.
func TestPoolRunsWhatIsLargerThanTheBudget(t *testing.T) {
	p := newPool(1, 1, 1<<30, 1000)
	done := make(chan struct{})
	if !p.submit(many, 1<<20, func() { close(done) }) {
		t.Fatal("refused")
	}
	<-done
	p.wait()
	wantIdle(t, p)
}

// A command about more than one credential waits behind others of its kind, so that it
// cannot delay those about a single one.
func TestEveryCommandHasItsCost(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	if want := len(subjects.Commands) + len(subjects.AdminCommands); len(b.endpoints) != want {
		t.Errorf("%d commands are served, of %d", len(b.endpoints), want)
	}
	for _, command := range commandsBut(subjects.Patch, subjects.JobShow) {
		e := b.endpoints[command]
		if e == nil {
			t.Errorf("%s is not served", command)
			continue
		}
		place, want := subjects.PlaceOf(e.request()), []cost{everyReplica}
		switch {
		case place.Target != nil || command == subjects.SealKey:
			want = []cost{single}
		case command == subjects.Audit:
			want = []cost{many}
		case place.Scope != nil:
			want = []cost{many, everyReplica}
		}
		if !slices.Contains(want, e.cost) {
			t.Errorf("%s: its cost is %d, want one of %d", command, e.cost, want)
		}
	}
	if b.endpoints[subjects.Patch].cost != patching || b.endpoints[subjects.JobShow].cost != many { // job_show returns the results of many
		t.Error("patch or job_show has another cost")
	}
}

func TestPoolIsFreedByPanic(t *testing.T) {
	p := newPool(1, 0, 10, 1<<20)
	done := make(chan struct{})
	if !p.submit(many, 5, func() {
		defer close(done)
		defer func() { recover() }() //nolint:errcheck // as dispatch does
		panic("x")
	}) {
		t.Fatal("refused")
	}
	<-done
	p.wait()
	wantIdle(t, p)
}

// hangingStore keeps every read until release.
type hangingStore struct {
	store.Store
	begun   chan struct{}
	release chan struct{}
}

func (s *hangingStore) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	s.begun <- struct{}{}
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return s.Store.Get(ctx, key)
}

// A full worker says so at once, still answers hits and its peers, and answers all requests
// that it had accepted.
func TestFullPool(t *testing.T) {
	s := &hangingStore{Store: memory.New(), begun: make(chan struct{}, 100), release: make(chan struct{})}
	b := newBed(t, s, func(c *Config) { c.Workers, c.Waiting = 2, 4 })
	inbox := nats.NewInbox()
	replies, err := b.client.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 6 {
		body := fmt.Appendf(nil, `{"id":"id-%d","fresh":true}`, n)
		if err := b.client.PublishRequest("cred.v1.retrieve.org:acme", inbox, body); err != nil {
			t.Fatal(err)
		}
	}
	<-s.begun
	<-s.begun
	told := b.ask(t, subjects.Retrieve, `{"id":"one-more"}`)
	if told == nil || told.Code != subjects.ResourceExhausted || !told.Retryable || told.OutcomeUnknown {
		t.Errorf("told %v", told)
	}
	if n, _, err := replies.Pending(); err != nil || n != 0 {
		t.Errorf("it was refused after %d earlier requests were answered: %v", n, err)
	}
	if n := b.counts.exhausted.Load(); n != 1 {
		t.Errorf("%d refusals are counted, want 1", n)
	}
	close(s.release)
	for n := range 6 {
		msg, err := replies.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("reply %d: %v", n, err)
		}
		if told := refusal(t, msg); told == nil || told.Code != subjects.NotFound {
			t.Errorf("reply %d: %v", n, told)
		}
	}
}

// Commands that ask all replicas wait for answers. Those answers must not need a worker of
// the same pool.
func TestReportsNeedNoWorkerOfThePool(t *testing.T) {
	// A command that waited for its own worker would get no answer in time.
	b := newBed(t, memory.New(), func(c *Config) { c.Workers, c.Waiting, c.GatherTimeout = 1, 100, 2*requestTimeout })
	for range 5 {
		if told := b.ask(t, subjects.CacheStats, `{}`); told != nil {
			t.Fatal(told)
		}
		if told := b.ask(t, subjects.ClearCache, `{}`); told != nil {
			t.Fatal(told)
		}
	}
}
