package integration

import (
	"fmt"
	"testing"
	"time"
)

// TestWorkerStopsCleanly stops one worker under load, as `docker stop` does, and then the
// other. The clients repeat nothing, so a request that a worker took and left unanswered
// would show.
func TestWorkerStopsCleanly(t *testing.T) {
	ctx, b := newBed(t)
	const never = -1
	l, err := startLoad(b.url, never)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()

	stop := func(w *worker) {
		t.Helper()
		begun := l.now()
		code, err := b.stop(ctx, w)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s stopped in %v with exit code %d", w.name, l.now()-begun, code)
		if code != 0 {
			t.Errorf("%s ended with exit code %d", w.name, code)
		}
	}
	time.Sleep(2 * time.Second) // the load runs meanwhile; no event is awaited
	stop(b.workers[0])
	time.Sleep(time.Second)
	alone := l.now()
	stop(b.workers[1])
	// NATS now refuses every request, but the store must still be read.
	l.stop()
	if err := b.workers[0].Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.await(ctx, b.workers[0]); err != nil {
		t.Fatal(err)
	}
	judged(t, l, b.url)

	var odd []string
	for _, f := range l.errors {
		if f.kind != noWorkers || f.end < alone {
			odd = append(odd, fmt.Sprintf("from %v to %v, the last worker being stopped at %v: %v", f.begin, f.end, alone, f.err))
		}
	}
	show(t, "request without its answer", odd)
}
