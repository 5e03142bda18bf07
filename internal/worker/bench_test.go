package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"credbus/internal/config"
	"credbus/subjects"
)

// BenchmarkHit measures only the hit path: the handler's callbacks of one
// worker, with client and server in the same process. It is for profiles; the
// relevant rate is that of internal/bench.
func BenchmarkHit(b *testing.B) {
	c, err := config.Load(nil, []string{"CREDBUS_DATA_DIR=" + b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	c.NATS.Port = -1
	w, err := Start(context.Background(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close(context.Background())
	nc, _, err := natscontext.Connect(w.ClientContext())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	subject := subjects.DefaultPrefix.Command(subjects.Store, "org:acme/team:eng")
	body := subjects.Append(nil, &subjects.StoreRequest{StoreItem: subjects.StoreItem{
		Target: subjects.Target{ID: "db"}, Data: subjects.Value(make([]byte, 256)),
	}})
	if _, err := nc.Request(subject, body, 5e9); err != nil {
		b.Fatal(err)
	}
	subject = subjects.DefaultPrefix.Command(subjects.Retrieve, "org:acme/team:eng")
	ask := subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: "db"}}}
	body = subjects.Append(nil, &ask)
	const window = 256
	inbox := nats.NewInbox()
	done := make(chan struct{})
	var left atomic.Int64
	left.Store(int64(b.N))
	var open atomic.Int64
	send := func() {
		if left.Add(-1) < 0 {
			if open.Add(-1) == 0 {
				close(done)
			}
			return
		}
		_ = nc.PublishRequest(subject, inbox, body)
	}
	if _, err := nc.Subscribe(inbox, func(*nats.Msg) { send() }); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	open.Store(window)
	for range window {
		send()
	}
	<-done
}

// BenchmarkStore is one write after the other on an embedded server with a file
// store, with three workers, in both modes side by side.
func BenchmarkStore(b *testing.B) {
	for _, mode := range []string{"bounded", "strict"} {
		b.Run("mode="+mode, func(b *testing.B) {
			first := newBed(b, "CREDBUS_COHERENCE_MODE="+mode)
			joinBed(b, first)
			joinBed(b, first)
			for b.Loop() {
				// A read, so that the workers have leases that a strict write waits for.
				reply := first.put(b, "org:acme", "db", "value")
				request := retrieve("db")
				request.Revision = reply.Revision
				first.must(b, subjects.Retrieve, "org:acme", request, new(subjects.RetrieveReply))
			}
		})
	}
}

// BenchmarkMissing retrieves a missing credential, from the cache and from the
// store. The latter also asks the log for its end.
func BenchmarkMissing(b *testing.B) {
	bed := newBed(b)
	for _, fresh := range []bool{true, false} {
		b.Run(fmt.Sprintf("fresh=%v", fresh), func(b *testing.B) {
			request := retrieve("none")
			request.Fresh = fresh
			for b.Loop() {
				wantCode(b, bed.ask(b, subjects.Retrieve, "org:acme", request, new(subjects.RetrieveReply)), subjects.NotFound)
			}
		})
	}
}
