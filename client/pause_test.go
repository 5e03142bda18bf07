package client

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The pauses double from 100 ms, are shortened by up to half, and do not pass
// the deadline.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{done: make(chan struct{})}
		for attempt, most := range []time.Duration{100, 200, 400, 800, 1600} {
			most *= time.Millisecond
			begin := time.Now()
			if !c.pause(t.Context(), attempt) {
				t.Errorf("no attempt after number %d", attempt)
			}
			if took := time.Since(begin); took <= most/2 || took > most {
				t.Errorf("pause %d took %v, want %v to %v", attempt, took, most/2, most)
			}
		}
		if begin := time.Now(); !c.pause(t.Context(), 1000) || time.Since(begin) > 10*time.Second {
			t.Errorf("a late pause took %v", time.Since(begin))
		}

		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if begin := time.Now(); c.pause(ctx, 0) || time.Since(begin) != 0 {
			t.Error("paused, although the deadline comes first")
		}

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if begin := time.Now(); !c.pause(ctx, 5) || time.Since(begin) != time.Millisecond {
			t.Errorf("cancelled after 1ms, the pause took %v", time.Since(begin))
		}
		time.AfterFunc(time.Millisecond, func() { close(c.done) })
		if begin := time.Now(); !c.pause(t.Context(), 5) || time.Since(begin) != time.Millisecond {
			t.Errorf("closed after 1ms, the pause took %v", time.Since(begin))
		}
	})
}
