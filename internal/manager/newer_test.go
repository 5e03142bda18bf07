package manager_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// movedLog is a log whose end already belongs to another stream than the one
// that a replica follows.
type movedLog struct {
	*coherencetest.Log
	end subjects.Revision
}

func (l *movedLog) End(context.Context) (subjects.Revision, error) { return l.end, nil }

// Stream deleted and recreated: a replica that still follows the old stream
// reads a record written under the new one. It must return the record with a
// revision of the new stream, and not cache it. It returns and caches a record
// of an unknown stream like any other.
func TestRecordOfALaterStream(t *testing.T) {
	for name, recreated := range map[string]bool{"recreated": true, "moved here": false} {
		t.Run(name, func(t *testing.T) {
			shared, ring := memory.New(), keyring(t)
			at := target("org:acme", "db")
			first := newBed(t, shared, nil, func(c *manager.Config) { c.Keyring = ring })
			first.store(t, at, "value")
			record, err := shared.Get(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			changed(t, ring, record, func(r *store.Record) { r.Revision = subjects.Revision{Stream: 5, Seq: 7} })
			if err := shared.Delete(t.Context(), at, store.Precondition{}); err != nil {
				t.Fatal(err)
			}
			if _, err := shared.Put(t.Context(), record, store.Precondition{}); err != nil {
				t.Fatal(err)
			}

			log := &movedLog{Log: coherencetest.NewLog(), end: subjects.Revision{Stream: 1, Seq: 1}}
			if recreated {
				log.end = subjects.Revision{Stream: 5, Seq: 9}
			}
			b := newBed(t, shared, log.Log, func(c *manager.Config) {
				c.Keyring = ring
				c.Replica = coherence.NewReplica(log, c.Cache, coherence.Config{Logger: slog.New(slog.DiscardHandler)})
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan struct{})
				go func() { defer close(done); c.Replica.Run(ctx) }()
				t.Cleanup(func() { cancel(); <-done })
				wait, stop := context.WithTimeout(t.Context(), 5*time.Second)
				defer stop()
				if err := c.Replica.AwaitTrust(wait); err != nil {
					t.Fatal(err)
				}
			})
			reply, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, subjects.Revision{})
			if err != nil || string(reply.Data[subjects.ValueName].Bytes()) != "value" {
				t.Fatalf("%v, %v", reply, err)
			}
			if ahead := reply.Revision.Stream == record.Revision.Stream; ahead != recreated {
				t.Errorf("the reply has revision %s, the log ends at %s", reply.Revision, log.end)
			}
			if _, _, cached := b.cache.Get(nil, []byte(at.Scope), []byte(at.ID)); cached == recreated {
				t.Errorf("it is cached: %v", cached)
			}
		})
	}
}
