package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"credbus/internal/store"
	"credbus/internal/testbed/bubble"
)

// Close ends the contexts of running calls, waits for them, and admits no more.
func TestCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		calls := store.NewCalls()
		ctx, end, err := calls.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		beside := false
		calls.Go(func(ctx context.Context) {
			<-ctx.Done()
			beside = true
		})
		closed, frees := make(chan error, 1), 0
		free := func() { frees++ }
		go func() { closed <- calls.Close(t.Context(), free) }()
		<-ctx.Done()
		if cause := context.Cause(ctx); cause != store.ErrClosed {
			t.Errorf("the call ends with %v", cause)
		}
		synctest.Wait()
		if len(closed) > 0 || frees > 0 {
			t.Error("Close does not wait for the call")
		}
		if _, _, err := calls.Begin(t.Context()); err != store.ErrClosed {
			t.Errorf("a call after Close: %v", err)
		}
		end()
		if err := <-closed; err != nil || !beside || frees != 1 {
			t.Errorf("Close: %v, the goroutine has ended: %t, freed %d times", err, beside, frees)
		}
		if err := calls.Close(t.Context(), free); err != nil || frees != 1 {
			t.Errorf("Close once more: %v, freed %d times", err, frees)
		}
	})
}

func TestCallsOfAnEndedContext(t *testing.T) {
	calls := store.NewCalls()
	defer calls.Close(t.Context(), func() {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := calls.Begin(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
