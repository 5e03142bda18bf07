package lifecycle_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/lifecycle"
	"credbus/internal/testbed/bubble"
)

func TestCloseWaitsForAllCallers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var part lifecycle.Part
		ends, failure := 0, errors.New("failed")
		begun := time.Now()
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() {
				err := part.Close(t.Context(), func(context.Context) error {
					ends++
					time.Sleep(time.Second)
					return failure
				})
				if took := time.Since(begun); took != time.Second || !errors.Is(err, failure) {
					t.Errorf("a caller returned after %v with %v", took, err)
				}
			})
		}
		callers.Wait()
		if err := part.Close(t.Context(), nil); !errors.Is(err, failure) || ends != 1 {
			t.Errorf("the next call returned %v after end ran %d times", err, ends)
		}
	})
}

func TestCloseIsBoundedByEachContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var part lifecycle.Part
		release := make(chan struct{})
		end := func(context.Context) error { <-release; return nil }
		for i := range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			begun := time.Now()
			err := part.Close(ctx, end)
			cancel()
			if took := time.Since(begun); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("call %d returned after %v with %v", i, took, err)
			}
		}
		close(release)
		if err := part.Close(t.Context(), end); err != nil {
			t.Errorf("Close after the end: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 { // select picks any of two ready cases
			if err := part.Close(ended, end); err != nil {
				t.Fatalf("Close after the end, with an ended context: %v", err)
			}
		}
	})
}

// Close gets no time, and still ends everything.
func TestCloseWithoutTime(t *testing.T) {
	var part lifecycle.Part
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := part.Close(ctx, func(ctx context.Context) error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("without time: %v", err)
	}
	if err := part.Close(t.Context(), nil); err != context.Canceled {
		t.Errorf("Close with time: %v, want the error of end", err)
	}
}

func TestStart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var part lifecycle.Part
		started := false
		starting := make(chan error, 1)
		go func() {
			starting <- part.Start(t.Context(), func(ctx context.Context) error {
				<-ctx.Done() // which Close ends
				time.Sleep(time.Second)
				started = true
				return ctx.Err()
			})
		}()
		synctest.Wait()
		err := part.Close(t.Context(), func(context.Context) error {
			if !started {
				t.Error("end ran during start")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := <-starting; !errors.Is(err, context.Canceled) {
			t.Errorf("Start during which Close came: %v", err)
		}
		again := func(context.Context) error { t.Error("started again"); return nil }
		if err := part.Start(t.Context(), again); !errors.Is(err, lifecycle.ErrStarted) {
			t.Errorf("the second Start: %v", err)
		}
		var closed lifecycle.Part
		closed.Close(t.Context(), func(context.Context) error { return nil })
		if err := closed.Start(t.Context(), again); !errors.Is(err, lifecycle.ErrClosed) {
			t.Errorf("Start after Close: %v", err)
		}
	})
}

func TestTurnsAreTaken(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var turn lifecycle.Turn
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		running, runs := 0, 0
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() {
				turn.Do(ctx, func() {
					if running++; running > 1 {
						t.Error("two ran at the same time")
					}
					time.Sleep(time.Second)
					running, runs = running-1, runs+1
				})
			})
		}
		time.Sleep(1500 * time.Millisecond)
		cancel() // while the second runs
		callers.Wait()
		if runs != 2 {
			t.Errorf("%d ran, want 2: the third must not begin", runs)
		}
	})
}

func TestGroup(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var group lifecycle.Group
		var ended atomic.Int64
		for range 2 {
			group.Go(func(ctx context.Context) {
				<-ctx.Done()
				time.Sleep(time.Second)
				ended.Add(1)
			})
		}
		for range 2 {
			group.Stop()
			if n := ended.Load(); n != 2 {
				t.Errorf("Stop returned when %d of 2 had ended", n)
			}
		}
		group.Go(func(context.Context) { t.Error("began after Stop") })
		new(lifecycle.Group).Stop() // without goroutines
	})
}

func TestTurnIsNotTakenWithoutTime(t *testing.T) {
	var turn lifecycle.Turn
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // of two things that are so, select takes any
		turn.Do(ended, func() { t.Fatal("it ran after its context had ended") })
	}
}
