package jobs

import (
	"context"
	"errors"
	"sync"
	"testing"

	"credbus/internal/store"
	"credbus/subjects"
)

// TestCloseWaits closes a worker by several goroutines, while an item hangs. Each call
// waits, and no longer than its context.
func TestCloseWaits(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	reached, proceed := make(chan struct{}), make(chan struct{})
	b.store.hooks(func(string, store.Key) error {
		close(reached)
		<-proceed
		return nil
	}, nil)
	submit(t, b, w, subjects.StoreBatch, job("j"), storeItems(1)...)
	<-reached
	impatient, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	calls.Go(func() {
		if err := w.Close(impatient); !errors.Is(err, context.Canceled) {
			t.Errorf("bounded: %v", err)
		}
	})
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- w.Close(t.Context()) }()
	}
	cancel()
	calls.Wait()
	select {
	case err := <-closed:
		t.Errorf("a call did not wait: %v", err)
	default:
	}
	close(proceed)
	for range 2 {
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
	never := b.make(t, "w2", nil)
	for range 2 {
		must(t, never.Close(t.Context()))
	}
}
