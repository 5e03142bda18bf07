package jobs

import (
	"context"
	"errors"
	"sync"
	"testing"

	"credbus/subjects"
)

// TestCloseWaits closes a worker from several goroutines while an item hangs.
// Each call must wait, but no longer than its context.
func TestCloseWaits(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	reached, proceed := make(chan struct{}), make(chan struct{})
	b.store.hooks(func(string, subjects.Target) error {
		close(reached)
		<-proceed
		return nil
	}, nil)
	submit(t, b, w, subjects.StoreBatch, job("j"), storeItems(1)...)
	<-reached
	closed := make(chan error, 2)
	first := arrival{Context: t.Context(), arrived: make(chan struct{})}
	go func() { closed <- w.Close(&first) }()
	<-first.arrived // its context is the one that jobs are abandoned by
	go func() { closed <- w.Close(t.Context()) }()
	impatient, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	calls.Go(func() {
		if err := w.Close(impatient); !errors.Is(err, context.Canceled) {
			t.Errorf("bounded: %v", err)
		}
	})
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

// arrival is a context that says when somebody waits for it.
type arrival struct {
	context.Context
	once    sync.Once
	arrived chan struct{}
}

func (a *arrival) Done() <-chan struct{} {
	a.once.Do(func() { close(a.arrived) })
	return a.Context.Done()
}
