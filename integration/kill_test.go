package integration

import (
	"fmt"
	"testing"
	"time"
)

// TestKillUnderLoad kills one of two workers while both are at work, and starts it again.
// Requests at that worker may go unanswered, but none may get a wrong answer, and no
// acknowledged write may be lost.
func TestKillUnderLoad(t *testing.T) {
	ctx, b := newBed(t)
	l, err := startLoad(b.url, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()

	during := func(phase string, d time.Duration) {
		t.Helper()
		before := l.writes.Load()
		time.Sleep(d) // the load runs meanwhile; no event is awaited
		n := l.writes.Load() - before
		t.Logf("%s: %d writes acknowledged in %v", phase, n, d)
		if n == 0 {
			t.Errorf("no write was acknowledged %s", phase)
		}
	}
	during("with both workers", 2*time.Second)
	killed := l.now()
	if err := b.kill(ctx, b.workers[0]); err != nil {
		t.Fatal(err)
	}
	dead := l.now()
	during("with one worker", 5*time.Second)
	if err := b.workers[0].Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.await(ctx, b.workers...); err != nil {
		t.Fatal(err)
	}
	during("with the worker back", 3*time.Second)
	served, err := b.served(ctx, "store")
	if err != nil {
		t.Fatal(err)
	}
	l.stop()
	judged(t, l, b.url)
	t.Logf("writes by the replicas that run: %v", served)
	for _, w := range b.workers {
		if served[w.name] == 0 {
			t.Errorf("%s has carried out none of the writes", w.name)
		}
	}

	// Requests that begin after the worker is dead go to the other one. NATS has noticed by
	// then, with the grace of a second for slow machines.
	const grace = time.Second
	var odd []string
	for _, f := range l.errors {
		inFlight := f.end >= killed && f.begin <= dead+grace
		if f.kind != timeout && f.kind != noWorkers || !inFlight {
			odd = append(odd, fmt.Sprintf("from %v to %v, the kill being from %v to %v: %v", f.begin, f.end, killed, dead, f.err))
		}
	}
	show(t, "error that the kill does not explain", odd)
}
