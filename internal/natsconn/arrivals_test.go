package natsconn_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/natsconn"
	"credbus/internal/testbed"
)

// A message is never older than is said, whatever held it up; and after a while, and after
// a reconnect, little is said again.
func TestArrivals(t *testing.T) {
	s := run(t, server.Options{})
	w := testbed.NewWire(t, s.Addr().String())
	conn := connect(t, natsconn.Config{URL: "nats://" + w.Address(), Logger: slog.New(slog.DiscardHandler)})
	arrivals := natsconn.Watch(conn)
	if age := arrivals.Age(); age != 0 {
		t.Errorf("before the first ping a message is %v old", age)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { arrivals.Run(ctx) })
	defer running.Wait()
	defer stop()

	// A busy machine delays the sender after it has looked at the clock, and this callback;
	// Arrivals see neither.
	const busy = 500 * time.Millisecond
	var mu sync.Mutex
	late, oldest := 0, time.Duration(0)
	sub, err := conn.Subscribe("clock", func(msg *nats.Msg) {
		var sent time.Time
		if err := sent.UnmarshalBinary(msg.Data); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		age, said := time.Since(sent), arrivals.Age()
		oldest = max(oldest, age)
		if said != 0 && said+busy < age {
			late++
			t.Errorf("a message of %v ago is said to be %v old", age, said)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	sender := connect(t, natsconn.Config{URL: s.ClientURL(), Logger: slog.New(slog.DiscardHandler)})
	running.Go(func() {
		for ctx.Err() == nil {
			now, _ := time.Now().MarshalBinary()
			_ = sender.Publish("clock", now)
			_ = sender.Flush()
			time.Sleep(time.Millisecond)
		}
	})
	settles := func() {
		t.Helper()
		const most = time.Second
		for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
			if age := arrivals.Age(); age != 0 && age < most {
				return
			} else if time.Now().After(deadline) {
				t.Fatalf("a message may be %v old", age)
			}
		}
	}
	for _, stall := range []time.Duration{0, 700 * time.Millisecond, 3 * time.Second} {
		settles()
		w.Stall()
		time.Sleep(stall)
		if age := arrivals.Age(); age < stall {
			t.Errorf("after a stall of %v a message is said to be %v old", stall, age)
		}
		w.Resume()
		time.Sleep(time.Second)
	}
	mu.Lock()
	if oldest < 2*time.Second {
		t.Errorf("the oldest message is %v old: this test shows nothing", oldest)
	}
	mu.Unlock()
	settles()
	if err := conn.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	settles()
}
