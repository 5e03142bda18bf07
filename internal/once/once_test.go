package once

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/testbed"
	"credbus/subjects"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startServer(t *testing.T, options server.Options) *server.Server {
	t.Helper()
	options.Host, options.JetStream, options.NoSigs, options.NoLog = "127.0.0.1", true, true, true
	if options.Port == 0 {
		options.Port = server.RANDOM_PORT
	}
	if options.StoreDir == "" {
		options.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(&options)
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

// ahead of the local clock is the workers' time, in nanoseconds.
type skew struct{ atomic.Int64 }

func (s *skew) now() time.Time { return time.Now().Add(time.Duration(s.Load())) }

func open(t *testing.T, url string, change func(*Config)) (*Messages, *skew) {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	must(t, err)
	t.Cleanup(nc.Close)
	clock := new(skew)
	config := Config{
		Conn: nc, Prefix: subjects.DefaultPrefix, Stream: "CREDBUS_ONCE", Now: clock.now, Volatile: true,
	}
	if change != nil {
		change(&config)
	}
	m, err := Open(t.Context(), config)
	must(t, err)
	return m, clock
}

// A message acts at one worker only, once, and only for a while.
func TestNote(t *testing.T) {
	url := startServer(t, server.Options{}).ClientURL()
	one, clock := open(t, url, nil)
	two, _ := open(t, url, nil)
	now := time.Now()
	must(t, one.Note(t.Context(), "a", now))
	for _, m := range []*Messages{one, two} {
		if err := m.Note(t.Context(), "a", now); !errors.Is(err, ErrCopy) {
			t.Errorf("a copy: %v", err)
		}
	}
	must(t, two.Note(t.Context(), "b", now))
	for name, sent := range map[string]time.Time{
		"late": now.Add(-Window - time.Second), "early": now.Add(time.Minute), "before the stream": one.current.Load().made.Add(-time.Millisecond),
	} {
		if err := one.Note(t.Context(), name, sent); !errors.Is(err, ErrStale) {
			t.Errorf("%s: %v", name, err)
		}
	}
	clock.Store(int64(Window))
	if err := one.Note(t.Context(), "c", now.Add(-time.Second)); !errors.Is(err, ErrStale) {
		t.Errorf("a copy after its time: %v", err)
	}
	info, err := one.js.Stream(t.Context(), "CREDBUS_ONCE")
	must(t, err)
	if config := info.CachedInfo().Config; config.Duplicates < Window+ahead || config.MaxAge < Window+ahead || config.Storage != jetstream.MemoryStorage {
		t.Errorf("%+v", config)
	}
}

// Of many copies that come at once to several workers, exactly one acts.
func TestOneOfMany(t *testing.T) {
	url := startServer(t, server.Options{}).ClientURL()
	workers := make([]*Messages, 3)
	for i := range workers {
		workers[i], _ = open(t, url, nil)
	}
	for n := range 20 {
		var acted atomic.Int64
		var group sync.WaitGroup
		for i := range 12 {
			group.Go(func() {
				err := workers[i%3].Note(t.Context(), fmt.Sprint(n), time.Now())
				if err == nil {
					acted.Add(1)
				} else if !errors.Is(err, ErrCopy) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if acted.Load() != 1 {
			t.Errorf("%d copies acted", acted.Load())
		}
	}
}

// A server that restarts forgets the messages. None from before acts again, and new ones do.
func TestRestart(t *testing.T) {
	options := server.Options{StoreDir: t.TempDir()}
	s := startServer(t, options)
	one, _ := open(t, s.ClientURL(), nil)
	two, _ := open(t, s.ClientURL(), nil)
	sent := time.Now()
	must(t, one.Note(t.Context(), "a", sent))
	options.Port = s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	startServer(t, options)
	for n, m := range []*Messages{one, two} {
		note := func(id string, sent time.Time) error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // the connection may lose one as it breaks
			defer cancel()
			return m.Note(ctx, id, sent)
		}
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			err := note("a", sent)
			if errors.Is(err, ErrStale) {
				break
			}
			if err == nil || errors.Is(err, ErrCopy) || time.Now().After(end) {
				t.Fatalf("a message from before the restart: %v", err)
			}
		}
		time.Sleep(ahead)
		must(t, note(fmt.Sprint("new", n), time.Now()))
	}
	if *one.current.Load() != *two.current.Load() {
		t.Errorf("two workers use %v and %v", one.current.Load(), two.current.Load())
	}
}

// Open leaves a stream of another owner alone.
func TestForeignStream(t *testing.T) {
	s := startServer(t, server.Options{})
	nc, err := nats.Connect(s.ClientURL())
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CREDBUS_ONCE", Subjects: []string{"other.>"}})
	must(t, err)
	_, err = Open(t.Context(), Config{Conn: nc, Prefix: subjects.DefaultPrefix, Stream: "CREDBUS_ONCE", Now: time.Now})
	if err == nil || !strings.Contains(err.Error(), "another deployment") {
		t.Errorf("%v", err)
	}
}

// Without a server, nobody knows whether a message has come before, and nobody waits for those
// who wait longer.
func TestNoServer(t *testing.T) {
	s := startServer(t, server.Options{})
	m, _ := open(t, s.ClientURL(), nil)
	s.Shutdown()
	long, stop := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 3 {
		waiting.Go(func() { _ = m.Note(long, "a", time.Now()) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := m.Note(ctx, "b", begun); err == nil || errors.Is(err, ErrCopy) || errors.Is(err, ErrStale) {
		t.Errorf("without a server: %v", err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	stop()
	waiting.Wait()
}

// In a cluster, a server that restarts has the stream still.
func TestClusterRestart(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprint(replicas, " replicas"), func(t *testing.T) { restartCluster(t, replicas) })
	}
}

func restartCluster(t *testing.T, replicas int) {
	const size = 3
	var routes, urls []string
	options := make([]server.Options, size)
	ports := make([]int, 2*size)
	for i := range ports {
		var err error
		ports[i], err = testbed.FreePort()
		must(t, err)
	}
	for _, port := range ports[:size] {
		routes = append(routes, fmt.Sprint("nats://127.0.0.1:", port))
	}
	for i := range options {
		options[i] = server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", JetStream: true, NoSigs: true, NoLog: true, StoreDir: t.TempDir(),
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]}, Routes: server.RoutesFromStr(strings.Join(routes, ",")),
		}
		options[i].Port = ports[size+i]
		urls = append(urls, fmt.Sprint("nats://127.0.0.1:", options[i].Port))
	}
	servers := make([]*server.Server, size)
	start := func(i int) {
		var err error
		servers[i], err = server.NewServer(options[i].Clone())
		must(t, err)
		servers[i].Start()
	}
	for i := range servers {
		start(i)
	}
	defer func() {
		for _, s := range servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}()
	for end := time.Now().Add(time.Minute); !servers[0].JetStreamIsCurrent() || !servers[0].ReadyForConnections(time.Second); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the cluster has no leader")
		}
	}
	m, _ := open(t, strings.Join(urls, ","), func(c *Config) { c.Volatile, c.Replicas = false, replicas })
	sent := time.Now()
	m.config.Now = func() time.Time { return sent } // however long the cluster takes
	must(t, m.Note(t.Context(), "a", sent))
	stream, err := m.js.Stream(t.Context(), "CREDBUS_ONCE")
	must(t, err)
	leader := stream.CachedInfo().Cluster.Leader
	for i := range servers {
		if replicas == size || options[i].ServerName == leader {
			servers[i].Shutdown()
		}
	}
	for i := range servers {
		if replicas == size || options[i].ServerName == leader {
			servers[i].WaitForShutdown()
			start(i)
		}
	}
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := m.Note(ctx, "a", sent)
		cancel()
		if errors.Is(err, ErrCopy) {
			return
		}
		if err == nil || errors.Is(err, ErrStale) || time.Since(sent) > memory {
			t.Fatalf("a copy, %v after it was sent: %v", time.Since(sent), err)
		}
		time.Sleep(100 * time.Millisecond) // the cluster is not up yet
	}
}
