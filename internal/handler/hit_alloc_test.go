package handler

import (
	"bytes"
	"context"
	"log/slog"
	"runtime/debug"
	"testing"

	"github.com/nats-io/nats.go"

	"credbus/internal/audit"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// nowhere is a sink that takes everything.
type nowhere struct{}

func (nowhere) Name() string                                    { return "nowhere" }
func (nowhere) Open(context.Context) (audit.Head, error)        { return audit.NewChain(), nil }
func (nowhere) Write(context.Context, []byte, audit.Head) error { return nil }
func (nowhere) Close() error                                    { return nil }

// TestRecordAllocatesNothing: a hit that is recorded allocates no more than one that is not.
func TestRecordAllocatesNothing(t *testing.T) {
	log, err := audit.Open(t.Context(), audit.Config{Worker: "w", Sinks: []audit.Sink{nowhere{}}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close(context.Background()) })
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var allocations [2]float64
	for i, log := range []*audit.Log{nil, log} {
		bed := newBed(t, memory.New(), func(c *Config) { c.Audit = log })
		reply := subjects.AppendOpen(nil, &subjects.RetrieveReply{Credential: subjects.Credential{
			Scope: "org:acme", ID: "db", Data: subjects.Value(make([]byte, 256)), Version: "v1",
		}})
		bed.cache.Put("org:acme", "db", reply, 0)
		body := subjects.Append(nil, &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: "db"}}})
		s := bed.newHits()
		if (s.records != nil) != (log != nil) {
			t.Fatal("hits are recorded, or not, against the configuration")
		}
		msg := &nats.Msg{Subject: "cred.v1.retrieve.org:acme", Reply: "_INBOX.x", Data: bytes.Clone(body)}
		answer := func() {
			copy(msg.Data, body)
			s.asked = asked{}
			if !s.answer(msg, &s.asked) {
				t.Fatal("a miss")
			}
			if len(s.held) == mostHeld { // as publish does, but the server would allocate, too
				if s.records != nil {
					log.Take(s.records)
				}
				s.replies, s.held = s.replies[:0], s.held[:0]
			}
		}
		allocations[i] = testing.AllocsPerRun(64*mostHeld, answer)
	}
	if allocations[1] > allocations[0] {
		t.Errorf("a hit allocates %v times, and %v times if it is recorded", allocations[0], allocations[1])
	}
	if written := log.Stats()[0]; written.Lost > 0 {
		t.Errorf("%+v", written)
	}
}
