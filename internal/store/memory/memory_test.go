package memory_test

import (
	"context"
	"fmt"
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(*testing.T) store.Store { return memory.New() },
	})
}

// A watch with a slow caller keeps a limited number of changes, and then reports that
// it lost track.
func TestWatchSlowCaller(t *testing.T) {
	s := memory.New()
	defer s.Close(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	stands, full := make(chan struct{}), make(chan struct{})
	var told []store.Change
	result := make(chan error)
	go func() {
		result <- s.Watch(ctx, func(change store.Change) {
			if told = append(told, change); len(told) == 1 {
				close(stands)
				<-full
			}
			if change.ID == "last" {
				cancel()
			}
		})
	}()
	<-stands
	put := func(id string) {
		rec := &store.Record{Target: subjects.Target{Scope: "org:acme", ID: subjects.ID(id)}, WriteID: id}
		if _, err := s.Put(t.Context(), rec, store.Precondition{}); err != nil {
			t.Error(err)
		}
	}
	const writes = 25_000
	for i := range writes {
		put(fmt.Sprint("key-", i))
	}
	put("last")
	close(full)
	if err := <-result; err != context.Canceled {
		t.Errorf("Watch: %v", err)
	}
	if len(told) > writes/2 || told[1] != (store.Change{All: true}) {
		t.Errorf("%d changes are reported, the second is %+v", len(told), told[1])
	}
}
