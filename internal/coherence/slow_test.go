package coherence_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/coherence"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// Slow-consumer drop: the server cuts the connection of a replica that does not read what
// it is sent. The replica answers nothing from its cache after its lease. Once it is
// back, it applies what it missed before it trusts its cache.
func TestSlowConsumer(t *testing.T) {
	b := newStreamBed(t)
	writer := newStreamReplica(t, b.open(t), "writer")
	w := testbed.NewWire(t, b.server.Addr().String())
	nc, err := nats.Connect("nats://"+w.Address(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	stream, err := coherence.OpenStream(t.Context(), nc, coherence.StreamConfig{
		Name: streamName, Prefix: subjects.DefaultPrefix, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	slow := newStreamReplica(t, stream, "slow")
	if _, err := nc.Subscribe("flood", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	before, ok := slow.Token(streamKey("db"), subjects.Revision{})
	if !ok {
		t.Fatal("no token")
	}
	slow.outline()

	w.Stall()
	leaseEnds := time.After(lease)
	flood := b.connect(t)
	for sent := 0; b.server.NumSlowConsumers() == 0; sent++ {
		if sent == 512 {
			t.Fatalf("after %d MiB the server does not call the replica slow", sent)
		}
		if err := flood.Publish("flood", make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if err := flood.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	revision, _, err := writer.Write(t.Context(), streamKey("db"), "w1", stored)
	if err != nil {
		t.Fatal(err)
	}
	if mayHit(slow.Replica, revision) {
		t.Error("a replica that was cut off answers from its cache a read with a revision that it missed")
	}
	<-leaseEnds
	if mayHit(slow.Replica, subjects.Revision{}) {
		t.Error("a replica that was cut off answers from its cache after its lease")
	}
	if _, ok := slow.Token(streamKey("db"), subjects.Revision{}); ok {
		t.Error("a replica that was cut off gives out a token after its lease")
	}
	w.Resume()
	slow.trusts(t)
	if dropped := slow.outline(); !strings.Contains(dropped, "db") && !strings.Contains(dropped, "all") {
		t.Errorf("it trusts its cache again, but dropped only %q of what was written meanwhile", dropped)
	}
	if fills(replica{slow.Replica, slow.cache}, streamKey("db"), before) {
		t.Error("a token from before fills")
	}
	slow.reaches(t, revision)
}
