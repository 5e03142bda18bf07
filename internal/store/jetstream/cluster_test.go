package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/store"
	"credbus/internal/store/jetstream"
	"credbus/internal/store/policy"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// cluster runs three servers, which must know each other's ports before they start.
func cluster(t *testing.T) []*server.Server {
	t.Helper()
	const size = 3
	var routes []*url.URL
	ports := make([]int, size)
	for i := range ports {
		port, err := testbed.FreePort()
		must(t, err)
		ports[i] = port
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", ports[i])})
	}
	servers := make([]*server.Server, size)
	for i := range servers {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(),
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		})
		must(t, err)
		servers[i] = s
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == size {
				return servers
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the cluster has no leader")
		}
		<-time.After(20 * time.Millisecond)
	}
}

func connectTo(t *testing.T, s *server.Server, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), append(options, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))...)
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// With three copies of the bucket, every read after a write sees it through every
// server, before and after the leader dies.
func TestClusterReadsAreCurrent(t *testing.T) {
	servers := cluster(t)
	// A server may not know yet that another has the bucket, or leads it. That
	// fault passes, and the retries handle it.
	stores, drivers := make([]store.Store, len(servers)), make([]*jetstream.Store, len(servers))
	for i, server := range servers {
		driver, err := jetstream.New(t.Context(), connectTo(t, server), jetstream.Config{Bucket: "three", Replicas: 3})
		must(t, err)
		defer driver.Close(t.Context())
		drivers[i] = driver
		stores[i] = policy.New(driver, policy.Config{Retries: 5})
	}
	var rec *store.Record
	write := 0
	check := func(alive []store.Store) {
		t.Helper()
		for range 100 {
			write++
			by := alive[write%len(alive)]
			rec = newRecord("org:acme", fmt.Sprint("key-", write%7), fmt.Sprint("w", write))
			version := put(t, by, rec)
			for _, s := range alive {
				got, err := s.Get(t.Context(), rec.Target)
				if err != nil || got.Version != version {
					t.Fatalf("after write %d, Get: %+v, %v; want version %s", write, got, err, version)
				}
				page, err := s.List(t.Context(), store.ListOptions{Limit: 10})
				must(t, err)
				listed := false
				for _, r := range page.Records {
					listed = listed || r.Target == rec.Target && r.Version == version
				}
				if !listed {
					t.Fatalf("after write %d, List does not show version %s of %v: %+v", write, version, rec.Target, page.Records)
				}
			}
		}
	}
	check(stores)

	var alive []store.Store
	var watcher *jetstream.Store
	var killed *server.Server
	for i, server := range servers {
		if server.JetStreamIsStreamLeader("$G", "KV_three") {
			killed = server
			drivers[i].Close(t.Context())
		} else {
			alive, watcher = append(alive, stores[i]), drivers[i]
		}
	}
	if killed == nil {
		t.Fatal("the stream has no leader")
	}
	w := watch(t, watcher)
	killed.Shutdown()
	killed.WaitForShutdown()
	// Until there is another leader, calls fail with errors that allow another try.
	for deadline := time.Now().Add(60 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := alive[0].Get(ctx, rec.Target)
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) || time.Now().After(deadline) {
			t.Fatalf("Get without a leader: %v", err)
		}
	}
	check(alive)
	last := newRecord("org:acme", "last", "w-last")
	version := put(t, alive[1], last)
	for {
		select {
		case change := <-w.changes:
			if change == stands(last, version) || change.All && current(t, alive[0], last.Target, version) {
				return
			}
		case err := <-w.result: // the watch may end with an error
			t.Log("Watch:", err)
			watchAgain(t, watcher)
			return
		case <-time.After(30 * time.Second):
			t.Fatal("the watch does not go on")
		}
	}
}

func current(t *testing.T, s store.Store, key subjects.Target, version string) bool {
	t.Helper()
	rec, err := s.Get(t.Context(), key)
	return err == nil && rec.Version == version
}

// watchAgain calls Watch until a watch begins, as a worker does: a cluster that has just
// lost a server may take a while to make the consumer.
func watchAgain(t *testing.T, s *jetstream.Store) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		begun := false
		err := s.Watch(ctx, func(change store.Change) { begun = change == lostTrack; cancel() })
		cancel()
		switch {
		case begun:
			return
		case time.Now().After(deadline):
			t.Fatalf("no watch begins again: %v", err)
		}
		t.Log("Watch:", err)
	}
}
