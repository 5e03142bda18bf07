package expiry_test

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/coherence"
	"credbus/internal/expiry"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// marksName is that of the stream of marks.
const marksName = "MARKS"

// streamBed is a real server.
type streamBed struct {
	server *server.Server
	admin  jetstream.JetStream
}

func newStreamBed(t *testing.T) *streamBed {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	b := &streamBed{server: s}
	if b.admin, err = jetstream.New(b.connect(t)); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *streamBed) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func (b *streamBed) marks(t *testing.T, worker string) *expiry.Stream {
	t.Helper()
	s, err := expiry.NewStream(b.connect(t), expiry.StreamConfig{
		Name: marksName, Prefix: subjects.DefaultPrefix, Worker: worker, MaxBytes: 8 << 20, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *streamBed) events(t *testing.T) *coherence.Stream {
	t.Helper()
	s, err := coherence.OpenStream(t.Context(), b.connect(t), coherence.StreamConfig{Name: "CHANGES", Prefix: subjects.DefaultPrefix, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func claim(t *testing.T, s *expiry.Stream, every time.Duration) (wait time.Duration) {
	t.Helper()
	wait, err := s.Claim(t.Context(), every)
	if err != nil {
		t.Fatal(err)
	}
	return wait
}

func TestClaim(t *testing.T) {
	b := newStreamBed(t)
	const workers, every = 8, time.Hour
	var claimed atomic.Int32
	var waits sync.Map
	var group sync.WaitGroup
	first := b.marks(t, "first")
	claim(t, first, every) // makes the stream
	if err := b.admin.DeleteStream(t.Context(), marksName); err != nil {
		t.Fatal(err)
	}
	claim(t, first, every) // makes it anew
	for i := range workers {
		s := b.marks(t, fmt.Sprint("worker-", i))
		group.Go(func() {
			// The hour has not passed, the millisecond has.
			wait, err := s.Claim(t.Context(), every)
			if err != nil {
				t.Error(err)
			}
			waits.Store(i, wait)
			time.Sleep(10 * time.Millisecond)
			if wait, err = s.Claim(t.Context(), time.Millisecond); err != nil {
				t.Error(err)
			}
			if wait == 0 {
				claimed.Add(1)
			}
		})
	}
	group.Wait()
	waits.Range(func(_, wait any) bool {
		if wait := wait.(time.Duration); wait <= every-time.Minute || wait > every {
			t.Errorf("the next sweep is due in %s", wait)
		}
		return true
	})
	if claimed.Load() == 0 {
		t.Error("nobody claims a sweep that is due")
	}
	info, err := b.admin.Stream(t.Context(), marksName)
	if err != nil {
		t.Fatal(err)
	}
	if msgs := info.CachedInfo().State.Msgs; msgs != 1 {
		t.Errorf("%d claims are kept", msgs)
	}
}

func TestMarks(t *testing.T) {
	b := newStreamBed(t)
	s, other := b.marks(t, "one"), b.marks(t, "two")
	if _, err := s.Get(t.Context(), target("db")); err == nil {
		t.Error("a mark is looked up before a sweep was claimed")
	}
	claim(t, s, time.Hour)
	claim(t, other, time.Hour)
	get := func(s *expiry.Stream, id string) expiry.Mark {
		t.Helper()
		mark, err := s.Get(t.Context(), target(id))
		if err != nil {
			t.Fatal(err)
		}
		return mark
	}
	put := func(s *expiry.Stream, mark expiry.Mark) uint64 {
		t.Helper()
		place, err := s.Put(t.Context(), target("db"), &mark)
		if err != nil {
			t.Fatal(err)
		}
		return place
	}
	if mark := get(s, "db"); mark != (expiry.Mark{}) {
		t.Errorf("before any there is %+v", mark)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	mark := expiry.Mark{
		Event: subjects.Event{Kind: subjects.EventExpiring, Target: target("db"), Version: "v1", Revision: subjects.Revision{Stream: 7, Seq: 8}, At: at, Replica: "one", Expires: at.Add(time.Hour)},
		Ahead: day, After: subjects.Revision{Stream: 1 << 60, Seq: 42},
	}
	if mark.Place = put(s, mark); mark.Place == 0 {
		t.Fatal("not written")
	}
	got := get(other, "db")
	if time.Since(got.Put).Abs() > time.Minute {
		t.Errorf("written at %v", got.Put)
	}
	got.Put = time.Time{}
	if got != mark {
		t.Errorf("got %+v, want %+v", got, mark)
	}
	mark.Told = true
	if place := put(other, mark); place == 0 {
		t.Fatal("not written in place of the first")
	}
	if place := put(s, mark); place != 0 {
		t.Error("written in place of a mark that is no longer there")
	}
	if !get(s, "db").Told {
		t.Error("not told")
	}
	if mark := get(s, "other"); mark.Place != 0 {
		t.Errorf("another credential has %+v", mark)
	}
	stream, err := b.admin.Stream(t.Context(), marksName)
	if err != nil {
		t.Fatal(err)
	}
	const subject = "cred.v1.coherence.expiry.org:acme.team:eng.db"
	msg, err := stream.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	if ttl, err := time.ParseDuration(msg.Header.Get("Nats-TTL")); err != nil || ttl != expiry.MarkTTL {
		t.Errorf("a mark stays for %q", msg.Header.Get("Nats-TTL"))
	}

	for name, spoil := range map[string]func(*nats.Msg){
		"body":  func(m *nats.Msg) { m.Data = []byte("\xc1") },
		"ahead": func(m *nats.Msg) { m.Header.Set("Credbus-Ahead", "soon") },
		"after": func(m *nats.Msg) { m.Header.Set("Credbus-After", "x") },
		"state": func(m *nats.Msg) { m.Header.Set("Credbus-State", "") },
	} {
		spoiled := nats.NewMsg(subject)
		spoiled.Data = msg.Data
		for header := range msg.Header {
			if header != "Nats-TTL" && header[:4] != "Nats" {
				spoiled.Header[header] = msg.Header[header]
			}
		}
		spoil(spoiled)
		ack, err := b.admin.PublishMsg(t.Context(), spoiled)
		if err != nil {
			t.Fatal(err)
		}
		got := get(s, "db")
		got.Put = time.Time{}
		if got != (expiry.Mark{Place: ack.Sequence}) {
			t.Errorf("with its %s spoiled: %+v", name, got)
		}
	}
}

// When the stream is full, no mark is evicted, and a mark can still change from telling to
// told.
func TestMarksWhenFull(t *testing.T) {
	b := newStreamBed(t)
	s, err := expiry.NewStream(b.connect(t), expiry.StreamConfig{Name: marksName, Prefix: subjects.DefaultPrefix, Worker: "one", MaxBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	claim(t, s, time.Hour)
	var marks []expiry.Mark
	for n := 0; err == nil; n++ {
		mark := expiry.Mark{Event: subjects.Event{Kind: subjects.EventExpired, Target: target(fmt.Sprint("id-", n)), Version: "v1"}}
		if mark.Place, err = s.Put(t.Context(), mark.Event.Target, &mark); err == nil {
			marks = append(marks, mark)
		}
	}
	if len(marks) < 3 {
		t.Fatalf("after %d marks: %v", len(marks), err)
	}
	for _, mark := range marks {
		mark.Told = true
		if place, err := s.Put(t.Context(), mark.Event.Target, &mark); err != nil || place == 0 {
			t.Errorf("%s becomes told: %d, %v", mark.Event.ID, place, err)
		}
	}
}

// Several watches run at once, on a real server: each event is published once.
func TestWatchesAtOnce(t *testing.T) {
	b := newStreamBed(t)
	s := memory.New()
	defer s.Close(t.Context())
	events := b.events(t)
	var want []string
	for i := range 200 {
		id, left, threshold := fmt.Sprint("id-", i), time.Hour, "day"
		switch i % 4 {
		case 1:
			left, threshold = -time.Hour, "expired"
		case 2:
			left, threshold = 100*time.Hour, "week"
		case 3:
			left = 300 * time.Hour
		}
		version := putRecord(t, s, id, left)
		if _, err := events.Append(t.Context(), &subjects.Event{Kind: subjects.EventStored, Target: target(id), Version: version, WriteID: id}); err != nil {
			t.Fatal(err)
		}
		if i%4 != 3 {
			want = append(want, telling(id, version, threshold))
		}
	}
	conn := b.connect(t)
	client, err := conn.SubscribeSync(subjects.DefaultPrefix.Events(subjects.Root))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	const workers = 3
	var watches []*expiry.Watch
	for i := range workers {
		name := fmt.Sprint("worker-", i)
		marks := b.marks(t, name)
		claim(t, marks, time.Hour)
		watches = append(watches, expiry.New(expiry.Config{
			Stores: map[string]expiry.Lister{"default": s}, Events: b.events(t), Marks: marks, Worker: name, Ahead: ahead, Logger: slog.New(slog.DiscardHandler),
		}))
	}
	for range 2 {
		var group sync.WaitGroup
		for _, watch := range watches {
			group.Go(func() { sweep(t, watch) })
		}
		group.Wait()
	}
	sweep(t, watches[0])
	// When the server answers this, all events that it acknowledged before have come.
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	waiting, _, err := client.Pending()
	if err != nil {
		t.Fatal(err)
	}
	var told []entry
	for range waiting {
		msg, err := client.NextMsg(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var event subjects.Event
		if err := subjects.Decode(msg.Data, &event); err != nil {
			t.Fatal(err)
		}
		told = append(told, entry{Event: event})
	}
	wantOnce(t, countTellings(told), want...)
}
