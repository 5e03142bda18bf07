package coherence_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// pausedCache lets others run while a scope is dropped.
type pausedCache struct {
	cacheLog
	dropping func()
}

func (c *pausedCache) DropSubtree(scope string) {
	c.dropping()
	c.note(scope + "/**")
}

// Flush against fill: a fill that comes while a scope is being dropped waits for the end
// of the drop, and is refused. Reinsertion: the next fill stays.
func TestFlushAgainstFill(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cache := &pausedCache{}
		r := replica{coherence.NewReplica(coherencetest.NewLog(), cache, coherence.Config{Logger: slog.New(slog.DiscardHandler)}), &cache.cacheLog}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		defer func() { cancel(); <-done }()
		synctest.Wait()

		before := mustToken(t, r, key)
		filled := make(chan bool, 1)
		cache.dropping = func() {
			begun := make(chan struct{})
			go func() {
				close(begun)
				filled <- r.Fill(key, before, coherence.Answer{}, func() { cache.note("put") })
			}()
			<-begun
		}
		at, err := r.Flush(t.Context(), subjects.Target{Scope: "org:acme"})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Await(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if <-filled {
			t.Error("a read from before a flush fills the cache while the flush drops")
		}
		if !r.Fill(key, mustToken(t, r, key), coherence.Answer{}, func() { cache.note("put") }) {
			t.Error("after the flush the key cannot be cached again")
		}
		synctest.Wait()
		if dropped := cache.take(); len(dropped) != 2 || dropped[1] != "put" {
			t.Errorf("the cache was asked for %q, want the drop and then one put", dropped)
		}
	})
}
