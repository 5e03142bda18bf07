package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"credbus/internal/store"
)

// Close ends the contexts of what is under way, waits for it, and admits no more.
func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
		closed := make(chan bool, 1)
		go func() { closed <- calls.Close() }()
		<-ctx.Done()
		if cause := context.Cause(ctx); cause != store.ErrClosed {
			t.Errorf("the call ends with %v", cause)
		}
		synctest.Wait()
		if len(closed) > 0 {
			t.Error("Close does not wait for the call")
		}
		if _, _, err := calls.Begin(t.Context()); err != store.ErrClosed {
			t.Errorf("another call: %v", err)
		}
		end()
		if !<-closed || !beside {
			t.Error("it was not the first, or did not wait for what runs beside")
		}
		if calls.Close() {
			t.Error("a second Close is told to be the first")
		}
	})
}

func TestCallsOfAnEndedContext(t *testing.T) {
	calls := store.NewCalls()
	defer calls.Close() // waits for nothing
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := calls.Begin(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
