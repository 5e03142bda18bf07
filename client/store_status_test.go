package client_test

import (
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/subjects"
)

func storeStatus(replica, state string, minute int) client.StoreStatus {
	return client.StoreStatus{Replica: replica, StoreState: subjects.StoreState{
		Name: "default", Type: "file", State: state, Since: time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC),
	}}
}

// storeWorkers answers cache_stats with the statuses that were set.
type storeWorkers struct {
	nc       *nats.Conn
	statuses atomic.Pointer[[]client.StoreStatus]
}

func (w *storeWorkers) set(statuses ...client.StoreStatus) { w.statuses.Store(&statuses) }

func (w *storeWorkers) start(t *testing.T, url string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w.nc = nc
	if _, err := nc.Subscribe(subjects.DefaultPrefix.Command(subjects.AdminCacheStats, ""), func(m *nats.Msg) {
		var reply client.Statistics
		for _, s := range *w.statuses.Load() {
			reply.Replicas = append(reply.Replicas, subjects.ReplicaStats{Replica: s.Replica, Stores: []subjects.StoreState{s.StoreState}})
		}
		_ = m.Respond(subjects.Append(nil, &reply))
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func (w *storeWorkers) publish(t *testing.T, statuses ...client.StoreStatus) {
	t.Helper()
	for _, s := range statuses {
		if err := w.nc.Publish(subjects.DefaultPrefix.StoreStatus(s.Name), subjects.Append(nil, &s)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStoreStatuses(t *testing.T) {
	const ok, failing = client.StoreOK, client.StoreFailing
	ns := startServer(t, &server.Options{})
	workers := new(storeWorkers)
	workers.start(t, ns.ClientURL())
	workers.set(storeStatus("one", ok, 5), storeStatus("two", failing, 1))
	c := connect(t, ns.ClientURL(), &client.Config{
		Clear:       true,
		NATSOptions: []nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0)},
	})
	statuses, err := c.StoreStatuses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(statuses)
	defer stop()
	wants := func(want ...client.StoreStatus) {
		t.Helper()
		var got []client.StoreStatus
		for range want {
			status, err, _ := next()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, status)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	wants(storeStatus("one", ok, 5), storeStatus("two", failing, 1))
	// A status that the reply had is not yielded again, and an older one not at all.
	workers.publish(t, storeStatus("one", failing, 4), storeStatus("one", ok, 5), storeStatus("two", ok, 6))
	wants(storeStatus("two", ok, 6))

	// The client asks for missed statuses as soon as a worker answers.
	workers.nc.Close()
	restart(t, ns)
	workers.set(storeStatus("one", failing, 7), storeStatus("two", ok, 6))
	workers.start(t, ns.ClientURL())
	wants(storeStatus("one", failing, 7))

	c.Close()
	if _, err, more := next(); !more || !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v, %t", err, more)
	}
	if _, _, more := next(); more {
		t.Error("it goes on after its error")
	}
}

func TestStoreStatusesWithoutWorkers(t *testing.T) {
	ns := startServer(t, &server.Options{})
	c := connect(t, ns.ClientURL(), &client.Config{Clear: true, Retries: -1})
	if _, err := c.StoreStatuses(t.Context()); !errors.Is(err, client.ErrNoWorkers) {
		t.Error(err)
	}
}
