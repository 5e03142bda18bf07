package natsconn_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/natsconn"
	"credbus/internal/testbed"
)

// A message is never older than Age says, whatever delayed it. Some time after a delay or a
// reconnect, Age is small again.
func TestArrivals(t *testing.T) {
	s := run(t, server.Options{})
	w := testbed.NewWire(t, s.Addr().String())
	conn := connect(t, natsconn.Config{URL: "nats://" + w.Address(), Logger: slog.New(slog.DiscardHandler)})
	subscriptions := natsconn.Keep(conn, slog.New(slog.DiscardHandler))
	arrivals := natsconn.Watch(subscriptions)
	if age := arrivals.Age(); age != 0 {
		t.Errorf("before the first ping a message is %v old", age)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { arrivals.Run(ctx) })
	defer running.Wait()
	defer stop()

	// The server has a message before it answers the flush that follows it. The test measures
	// the age from that answer, so no delay of the sender counts.
	type delivery struct {
		number int
		at     time.Time
		said   time.Duration
	}
	var mu sync.Mutex
	var had []time.Time // by number: the server had the message by then
	var deliveries []delivery
	err := subscriptions.Subscribe("clock", "", func(msg *nats.Msg) {
		number, err := strconv.Atoi(string(msg.Data))
		if err != nil {
			t.Error(err)
		}
		now, said := time.Now(), arrivals.Age()
		mu.Lock()
		deliveries = append(deliveries, delivery{number, now, said})
		mu.Unlock()
		if number%500 == 0 {
			time.Sleep(400 * time.Millisecond) // other messages were read, and wait for this callback
		}
	})
	if err := errors.Join(err, conn.Flush()); err != nil {
		t.Fatal(err)
	}
	sender := connect(t, natsconn.Config{URL: s.ClientURL(), Logger: slog.New(slog.DiscardHandler)})
	running.Go(func() {
		for number := 0; ctx.Err() == nil; number++ {
			_ = sender.Publish("clock", []byte(strconv.Itoa(number)))
			if err := sender.Flush(); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			had = append(had, time.Now())
			mu.Unlock()
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
			t.Errorf("after a stall of %v, Age says %v", stall, age)
		}
		w.Resume()
		time.Sleep(time.Second)
	}
	mu.Lock()
	oldest := time.Duration(0)
	for _, d := range deliveries {
		if d.number >= len(had) {
			continue // its flush has no answer yet
		}
		age := d.at.Sub(had[d.number])
		oldest = max(oldest, age)
		if d.said != 0 && d.said < age {
			t.Errorf("message %d is at least %v old, and Age said %v", d.number, age, d.said)
		}
	}
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
