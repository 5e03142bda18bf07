package client

import (
	"context"
	"fmt"
	"testing"
	"time"

	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// The pauses double from 100 ms, are shortened by up to half, and do not pass
// the deadline.
func TestPause(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := &Client{done: make(chan struct{})}
		for attempt, most := range []time.Duration{100, 200, 400, 800, 1600} {
			most *= time.Millisecond
			begin := time.Now()
			if !c.pause(t.Context(), attempt, nil) {
				t.Errorf("no attempt after number %d", attempt)
			}
			if took := time.Since(begin); took <= most/2 || took > most {
				t.Errorf("pause %d took %v, want %v to %v", attempt, took, most/2, most)
			}
		}
		if begin := time.Now(); !c.pause(t.Context(), 1000, nil) || time.Since(begin) > 10*time.Second {
			t.Errorf("a late pause took %v", time.Since(begin))
		}

		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if begin := time.Now(); c.pause(ctx, 0, nil) || time.Since(begin) != 0 {
			t.Error("paused, although the deadline comes first")
		}

		// As long as a worker asks, and not much longer.
		limited := &Error{Code: subjects.ResourceExhausted, RetryAfter: 3 * time.Second}
		begin := time.Now()
		if !c.pause(t.Context(), 0, fmt.Errorf("refused: %w", limited)) || time.Since(begin) < 3*time.Second || time.Since(begin) > 4*time.Second {
			t.Errorf("asked to come back in 3s, the pause took %v", time.Since(begin))
		}
		if begin := time.Now(); c.pause(ctx, 0, limited) || time.Since(begin) != 0 {
			t.Error("paused as long as asked, although the deadline comes first")
		}

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if begin := time.Now(); !c.pause(ctx, 5, nil) || time.Since(begin) != time.Millisecond {
			t.Errorf("cancelled after 1ms, the pause took %v", time.Since(begin))
		}
		time.AfterFunc(time.Millisecond, func() { close(c.done) })
		if begin := time.Now(); !c.pause(t.Context(), 5, nil) || time.Since(begin) != time.Millisecond {
			t.Errorf("closed after 1ms, the pause took %v", time.Since(begin))
		}
	})
}
