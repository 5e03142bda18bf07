package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/store"
	"credbus/internal/store/jetstream"
	"credbus/subjects"
)

// line is a connection that can be cut and stays cut until it is mended.
type line struct {
	mu     sync.Mutex
	broken bool
	conn   net.Conn
}

func (l *line) Dial(network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return nil, errors.New("the line is cut")
	}
	var err error
	l.conn, err = net.Dial(network, address)
	return l.conn, err
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	l.conn.Close()
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = false
}

// reports collects the reports of a Watch.
type reports struct {
	t       *testing.T
	changes chan store.Change
	stop    context.CancelFunc
	result  chan error
}

var lostTrack = store.Change{All: true}

func watch(t *testing.T, s *jetstream.Store) *reports {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &reports{t: t, changes: make(chan store.Change, 1<<12), stop: cancel, result: make(chan error, 1)}
	t.Cleanup(cancel)
	go func() { w.result <- s.Watch(ctx, func(change store.Change) { w.changes <- change }) }()
	if first := w.next(); first != lostTrack {
		t.Fatalf("the first report is %+v", first)
	}
	return w
}

func (w *reports) next() store.Change {
	w.t.Helper()
	select {
	case change := <-w.changes:
		return change
	case err := <-w.result:
		w.t.Fatalf("Watch ended: %v", err)
	case <-time.After(15 * time.Second):
		w.t.Fatal("no report came")
	}
	return store.Change{}
}

func (w *reports) expect(want ...store.Change) {
	w.t.Helper()
	for _, change := range want {
		if got := w.next(); got != change {
			w.t.Fatalf("reported %+v, want %+v", got, change)
		}
	}
}

func stands(rec *store.Record, version string) store.Change {
	return store.Change{Target: rec.Target, Version: version, WriteID: rec.WriteID}
}

// A watch that was cut off continues where it was, or lost track. That depends on
// what happened to the bucket meanwhile.
func TestWatchWhileAway(t *testing.T) {
	b := newBed(t)
	for name, test := range map[string]struct {
		away    func(t *testing.T, s *jetstream.Store, bucket string) []store.Change
		resumes bool
	}{
		"nothing": {func(*testing.T, *jetstream.Store, string) []store.Change { return nil }, true},
		"changes": {func(t *testing.T, s *jetstream.Store, _ string) []store.Change {
			rec := newRecord("org:acme", "new", "w2")
			changes := []store.Change{stands(rec, put(t, s, rec))}
			gone := newRecord("org:acme", "other", "").Target
			must(t, s.Delete(t.Context(), gone, store.Precondition{}))
			return append(changes, store.Change{Target: gone, Gone: true})
		}, true},
		"everything replaced": {func(t *testing.T, s *jetstream.Store, _ string) []store.Change {
			for _, id := range []string{"kept", "other", "before"} {
				put(t, s, newRecord("org:acme", id, "w2"))
			}
			return nil
		}, false},
		"purged": {func(t *testing.T, _ *jetstream.Store, bucket string) []store.Change {
			must(t, b.stream(t, bucket).Purge(t.Context()))
			return nil
		}, false},
		"deleted and made again": {func(t *testing.T, _ *jetstream.Store, bucket string) []store.Change {
			must(t, b.admin(t).DeleteKeyValue(t.Context(), bucket))
			s := b.open(t, bucket)
			for i := range 5 { // more than the watch had seen
				put(t, s, newRecord("org:acme", fmt.Sprint("key-", i), "w3"))
			}
			return nil
		}, false},
		"markers gone": {func(_ *testing.T, s *jetstream.Store, _ string) []store.Change {
			return nil
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bucket, l := b.bucket(), new(line)
			nc := b.connect(t, nats.SetCustomDialer(l))
			s, err := jetstream.New(t.Context(), nc, jetstream.Config{Bucket: bucket})
			must(t, err)
			defer s.Close(t.Context())
			other := b.open(t, bucket)
			put(t, other, newRecord("org:acme", "kept", "w1"))
			put(t, other, newRecord("org:acme", "other", "w1"))
			if name == "markers gone" {
				s.SetMarkerTTL(time.Nanosecond)
			}
			w := watch(t, s)
			before := newRecord("org:acme", "before", "w1")
			w.expect(stands(before, put(t, other, before)))
			lost := nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED)
			l.cut()
			<-lost
			changes := test.away(t, other, bucket)
			l.mend()
			if test.resumes {
				w.expect(changes...)
			} else {
				w.expect(lostTrack)
			}
			after := newRecord("org:acme", "after", "w4")
			w.expect(stands(after, put(t, b.open(t, bucket), after)))
		})
	}
}

// The restart of the server ends the consumer. No change may be reported twice or
// missed.
func TestWatchSurvivesServerRestart(t *testing.T) {
	b := newBed(t)
	s := b.open(t, "restart")
	back := make(chan struct{}, 1)
	nc := b.connect(t, nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	other, err := jetstream.New(t.Context(), nc, jetstream.Config{Bucket: "restart"})
	must(t, err)
	defer other.Close(t.Context())
	w := watch(t, s)
	rec := newRecord("org:acme", "key", "w1")
	w.expect(stands(rec, put(t, other, rec)))
	b.stop()
	b.start(t)
	<-back // a message is lost if it is sent before the client notices the lost connection
	rec = newRecord("org:acme", "key2", "w2")
	version := put(t, other, rec)
	w.expect(stands(rec, version))
	if got, err := s.Get(t.Context(), rec.Target); err != nil || got.Version != version {
		t.Errorf("Get after the restart: %+v, %v", got, err)
	}
}

// If somebody removes the consumer, the watch makes another one and misses nothing.
func TestWatchConsumerRemoved(t *testing.T) {
	b := newBed(t)
	s := b.open(t, "consumer")
	w := watch(t, s)
	rec := newRecord("org:acme", "key", "w1")
	w.expect(stands(rec, put(t, s, rec)))
	stream := b.stream(t, "consumer")
	names := stream.ConsumerNames(t.Context())
	for name := range names.Name() {
		must(t, stream.DeleteConsumer(t.Context(), name))
	}
	for _, id := range []string{"one", "two"} {
		rec := newRecord("org:acme", id, "w2")
		w.expect(stands(rec, put(t, s, rec)))
	}
}

func TestWatchBucketRemoved(t *testing.T) {
	b := newBed(t)
	s := b.open(t, "removed")
	w := watch(t, s)
	must(t, b.admin(t).DeleteKeyValue(t.Context(), "removed"))
	select {
	case err := <-w.result:
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("Watch: %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("Watch does not notice")
	}
}

// The watch does not report foreign keys. It reports a key with the record of another
// key as changed, without a version.
func TestWatchByHand(t *testing.T) {
	b := newBed(t)
	s := b.open(t, "hand")
	w := watch(t, s)
	kv := b.keyValue(t, "hand")
	rec := newRecord("org:acme", "key", "w1")
	version := put(t, s, rec)
	w.expect(stands(rec, version))
	entry, err := kv.Get(t.Context(), "org=acme.key")
	must(t, err)
	for _, step := range []struct {
		do   func() error
		want store.Change
	}{
		{func() error { _, err := kv.Put(t.Context(), "not-ours", entry.Value()); return err }, store.Change{}},
		{func() error { _, err := kv.Put(t.Context(), "org=acme.copy", entry.Value()); return err },
			store.Change{Target: subjects.Target{Scope: "org:acme", ID: "copy"}}},
		{func() error { _, err := kv.Put(t.Context(), "org=acme.key", entry.Value()); return err },
			store.Change{Target: rec.Target, WriteID: "w1", Version: "4"}},
		{func() error { return kv.Delete(t.Context(), "org=acme.key") }, store.Change{Target: rec.Target, Gone: true}},
		{func() error { return kv.Purge(t.Context(), "org=acme.key") }, store.Change{Target: rec.Target, Gone: true}},
	} {
		must(t, step.do())
		if step.want != (store.Change{}) {
			w.expect(step.want)
		}
	}
}
