package coherence_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// A replica starts before a write is over that was announced in a log which is gone. On a
// log that replaced another it caches nothing for as long as such a write may take. On a
// log that replaced none it caches at once.
func TestStartOnAYoungLog(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			log := coherencetest.NewLog()
			if replaced {
				log.Recreate()
			}
			const late = hold / 2 // when the replica starts
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

// Whether a stream replaced another is decided when it is created, by whether a replica is
// running. It stays known when the settings of the stream change.
func TestStreamFounded(t *testing.T) {
	b := newStreamBed(t)
	young := func(what string, want bool) {
		t.Helper()
		f := follow(t, b.open(t), "r"+what[:3])
		if opened := f.opened; (opened < time.Hour) != want {
			t.Errorf("%s counts as %v old", what, opened)
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
