package handler

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/store/memory"
	"credbus/subjects"
)

// What a hit costs the worker's callback, in clear and sealed.
func BenchmarkHit(b *testing.B) {
	bed := newBed(b, memory.New(), nil)
	client := newSealedClient(b, bed)
	reply := subjects.AppendOpen(nil, &subjects.RetrieveReply{Credential: subjects.Credential{
		Scope: "org:acme", ID: "db", Data: subjects.Value(make([]byte, 256)), Version: "v1",
	}})
	bed.cache.Put("org:acme", "db", reply, 0)
	request := subjects.Append(nil, &subjects.RetrieveRequest{
		RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: "db"}}, Envelope: subjects.Envelope{Deadline: time.Now().Add(time.Hour)},
	})
	sealed, _ := client.seal(subjects.Retrieve, 0, request)
	for name, body := range map[string][]byte{"clear": request, "sealed": sealed} {
		b.Run(name, func(b *testing.B) {
			s := bed.newHits()
			msg := &nats.Msg{Subject: "cred.v1.retrieve.org:acme", Reply: "_INBOX.x", Data: bytes.Clone(body)}
			b.ReportAllocs()
			for b.Loop() {
				copy(msg.Data, body)
				s.asked = asked{}
				if !s.answer(msg, &s.asked) {
					b.Fatal("a miss")
				}
				if len(s.held) == mostHeld || len(s.replies) >= mostHeldBytes {
					s.publish()
				}
			}
			s.publish()
		})
	}
}
