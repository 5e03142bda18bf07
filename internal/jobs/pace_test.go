package jobs

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/testbed/bubble"
)

// TestPace counts the items of 10 ms each that run within a minute, ten at
// once, with and without requests.
func TestPace(t *testing.T) {
	const took, atOnce = 10 * time.Millisecond, 10
	for name, test := range map[string]struct {
		share       int
		every       time.Duration // a request; 0: none
		least, most int64
	}{
		"alone":     {10, 0, 60_000, 60_010},
		"busy":      {10, 50 * time.Millisecond, 540, 620},
		"half":      {50, 50 * time.Millisecond, 2_700, 3_050},
		"unlimited": {100, 50 * time.Millisecond, 60_000, 60_010},
		// A request every second: a fifth of the time belongs to it.
		"now and then": {10, time.Second, 35_000, 52_000},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var served, done, atWork, most atomic.Int64
				p := newPace(served.Load, test.share)
				stop, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var running sync.WaitGroup
				if test.every > 0 {
					p.busy()
					served.Add(1) // just now
					running.Go(func() {
						for stop.Err() == nil {
							time.Sleep(test.every)
							served.Add(1)
						}
					})
				}
				for range atOnce {
					running.Go(func() {
						for stop.Err() == nil {
							p.run(stop, func() {
								if n := atWork.Add(1); n > most.Load() {
									most.Store(n)
								}
								time.Sleep(took)
								atWork.Add(-1)
								done.Add(1)
							})
						}
					})
				}
				running.Wait()
				if n := done.Load(); n < test.least || n > test.most {
					t.Errorf("%d items, want %d to %d", n, test.least, test.most)
				}
				if test.share < 100 && test.every > 0 && test.every < lull && most.Load() != 1 {
					t.Errorf("%d at once", most.Load())
				}
			})
		})
	}
}

// TestPaceAfterAbsence checks that after an absence jobs begin at full pace
// despite earlier requests, and give way to new requests.
func TestPaceAfterAbsence(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var served atomic.Int64
		p := newPace(served.Load, 10)
		for range 2 {
			served.Add(1000)
			time.Sleep(absence)
			if p.busy() {
				t.Error("earlier requests count as current ones")
			}
			served.Add(1)
			if !p.busy() {
				t.Error("requests that just arrived are not seen")
			}
			time.Sleep(lull)
			if p.busy() {
				t.Error("busy after the lull")
			}
		}
	})
}
