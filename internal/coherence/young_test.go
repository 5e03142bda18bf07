package coherence_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/subjects"
)

// start before what was announced in a log that is gone is over: a replica that
// comes up on a log which replaced another caches nothing for as long as such a
// write may take, and on one that replaced none it does at once.
func TestStartOnAYoungLog(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log := coherencetest.NewLog()
			if replaced {
				log.Recreate()
			}
			const late = hold / 2 // that it comes up
			time.Sleep(late)
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			defer running.Wait()
			defer cancel()
			r := replica{coherence.NewReplica(log, &cacheLog{}, coherence.Config{Name: "r0", Hold: hold, Logger: slog.New(slog.DiscardHandler)}), nil}
			running.Go(func() { r.Run(ctx) })
			if err := r.AwaitTrust(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, ok := r.Token(key, subjects.Revision{}); ok == replaced {
				t.Errorf("replaced another log: %v; a key is cached: %v", replaced, ok)
			}
			time.Sleep(hold - late - time.Nanosecond)
			r.Renew(t.Context())
			if _, ok := r.Token(key, subjects.Revision{}); ok == replaced {
				t.Errorf("replaced another log: %v; shortly before its age is that of a hold, a key is cached: %v", replaced, ok)
			}
			time.Sleep(time.Nanosecond)
			mustToken(t, r, key)
		})
	}
}

// Whether a stream replaced another is known from who was there when it was
// made, and stays known when its settings change.
func TestStreamFounded(t *testing.T) {
	b := newStreamBed(t)
	young := func(what string, want bool) {
		t.Helper()
		f := follow(t, b.open(t), "r"+what[:3])
		if opened := f.opened; (opened < time.Hour) != want {
			t.Errorf("%s is told as %v old", what, opened)
		}
	}
	first := b.open(t)
	young("the first stream", false)
	young("the same, opened by another worker", false)
	r := newStreamReplica(t, first, "r0")
	was := b.stream(t).CachedInfo().Created
	if err := b.admin.DeleteStream(t.Context(), streamName); err != nil {
		t.Fatal(err)
	}
	r.reaches(t, subjects.Revision{Stream: uint64(was.UnixNano()) + 1})
	young("one made anew by a replica", true)
	if err := b.admin.DeleteStream(t.Context(), streamName); err != nil {
		t.Fatal(err)
	}
	young("one made anew while a replica is there", true)
}
