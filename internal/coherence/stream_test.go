package coherence_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/coherence"
	"credbus/internal/testbed"
	"credbus/subjects"
)

func TestStreamHasOneOrder(t *testing.T) {
	b := newStreamBed(t)
	writers := []*coherence.Stream{b.open(t), b.open(t)}
	followers := []*callLog{follow(t, writers[0], "r0"), follow(t, writers[1], "r1")}
	const each = 50
	var group sync.WaitGroup
	var mu sync.Mutex
	places := make(map[subjects.ID]subjects.Revision)
	for w, s := range writers {
		group.Go(func() {
			var last subjects.Revision
			for i := range each {
				id := fmt.Sprintf("w%d-%d", w, i)
				at := appendEntry(t, s, coherence.Intent, id)
				if at.Compare(last) <= 0 {
					t.Errorf("%s is at %v, after %v", id, at, last)
				}
				last = at
				mu.Lock()
				places[subjects.ID(id)] = at
				mu.Unlock()
			}
		})
	}
	group.Wait()
	end := appendEntry(t, writers[0], coherence.Intent, "end")
	for i, s := range writers {
		if at, err := s.End(t.Context()); err != nil || at != end {
			t.Errorf("stream %d ends at %v, %v; want %v", i, at, err, end)
		}
	}
	for i, f := range followers {
		steps := f.delivered(t, end)
		if len(steps) != 2*each+1 {
			t.Fatalf("follower %d got %d steps", i, len(steps))
		}
		for n, s := range steps[:2*each] {
			if s.at.Seq != uint64(n+1) || s.at != places[s.entry.ID] || s.entry.Scope != streamKey("").Scope {
				t.Fatalf("follower %d: step %d is %+v, appended at %v", i, n, s, places[s.entry.ID])
			}
		}
	}
}

// A writer appends the end of a write again when the first answer was lost.
func TestStreamTakesTheEndOfAWriteOnce(t *testing.T) {
	b := newStreamBed(t)
	s := b.open(t)
	follow(t, s, "r0")
	first := appendEntry(t, s, subjects.EventStored, "db")
	if again := appendEntry(t, s, subjects.EventStored, "db"); again != first {
		t.Errorf("appended at %v, and again at %v", first, again)
	}
	if next := appendEntry(t, s, subjects.EventStored, "other"); next.Seq != first.Seq+1 {
		t.Errorf("another write is at %v, the first at %v", next, first)
	}
}

func TestStreamAcknowledgements(t *testing.T) {
	b := newStreamBed(t)
	f, other := follow(t, b.open(t), "writer"), follow(t, b.open(t), "other")
	s := b.open(t)
	s.Acknowledge("reader", "writer", "w1")
	s.Acknowledge("reader", "wri*er", "w2") // not a replica's name
	s.Acknowledge("reader", "other", "w3")
	f.until(t, "w1", func(s step) bool { return s.text == "reader w1" })
	for _, s := range other.until(t, "w3", func(s step) bool { return s.text == "reader w3" }) {
		if s.what == "acknowledged" && s.text != "reader w3" {
			t.Errorf("another replica hears %q", s.text)
		}
	}
}

// What happens to a stream while a replica is away decides whether the replica may keep
// its cache.
func TestStreamWhileAway(t *testing.T) {
	purge := func(options ...jetstream.StreamPurgeOpt) func(*testing.T, *streamBed, uint64) {
		return func(t *testing.T, b *streamBed, first uint64) {
			if err := b.stream(t).Purge(t.Context(), options...); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(offsets ...uint64) func(*testing.T, *streamBed, uint64) {
		return func(t *testing.T, b *streamBed, first uint64) {
			for _, offset := range offsets {
				if err := b.stream(t).DeleteMsg(t.Context(), first+offset); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// Three entries are appended while it is away. "all" is a gap.
	for name, test := range map[string]struct {
		away func(t *testing.T, b *streamBed, first uint64)
		want string
	}{
		"nothing": {func(*testing.T, *streamBed, uint64) {}, "away0 away1 away2"},
		"seen ones purged": {func(t *testing.T, b *streamBed, first uint64) {
			purge(jetstream.WithPurgeSequence(first))(t, b, first)
		}, "away0 away1 away2"},
		"some purged":        {purge(jetstream.WithPurgeKeep(1)), "all away2"},
		"all purged":         {purge(), "all"},
		"first removed":      {remove(0), "all away1 away2"},
		"one removed":        {remove(1), "away0 all away2"},
		"last removed":       {remove(2), "away0 away1 all"},
		"all unseen removed": {remove(0, 1, 2), "all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStreamBed(t)
			writer := b.open(t)
			follow(t, writer, "writer")
			r := newStreamReplica(t, b.open(t), "r0")
			r.reaches(t, appendEntry(t, writer, coherence.Intent, "before"))
			if got := r.outline(); got != "before" {
				t.Fatalf("before that it dropped %q", got)
			}
			r.stop()
			var first, last subjects.Revision
			for n := range 3 {
				last = appendEntry(t, writer, coherence.Intent, fmt.Sprintf("away%d", n))
				if n == 0 {
					first = last
				}
			}
			test.away(t, b, first.Seq)
			r.run(t)
			if got := r.outline(); got != test.want {
				t.Errorf("it dropped %q, want %q", got, test.want)
			}
			if at := r.Applied(); at.Stream != last.Stream {
				t.Errorf("it is at %v, the stream at %v", at, last)
			}
			r.reaches(t, appendEntry(t, writer, coherence.Intent, "next"))
			if got := r.outline(); got != "next" {
				t.Errorf("then it dropped %q", got)
			}
		})
	}
}

func TestStreamDeletedAndMadeAnew(t *testing.T) {
	b := newStreamBed(t)
	r := newStreamReplica(t, b.open(t), "r0")
	s := b.open(t)
	follow(t, s, "writer")
	old := appendEntry(t, s, coherence.Intent, "old")
	r.reaches(t, old)
	r.outline()
	if err := b.admin.DeleteStream(t.Context(), streamName); err != nil {
		t.Fatal(err)
	}
	r.reaches(t, subjects.Revision{Stream: old.Stream + 1}) // whatever its end
	if got := r.outline(); got != "all" {
		t.Errorf("it dropped %q", got)
	}
	r.trusts(t)
	if _, ok := r.Token(streamKey("db"), subjects.Revision{}); ok {
		t.Error("a key is cached though an intent may have been lost with the stream")
	}
	revision, ran, err := r.Write(t.Context(), streamKey("db"), "w1", stored)
	if err != nil || !ran || revision.Compare(old) <= 0 {
		t.Errorf("a write is at %v, %v, the last of the old stream at %v", revision, err, old)
	}
}

func TestStreamReplacedWhileAway(t *testing.T) {
	b := newStreamBed(t)
	r := newStreamReplica(t, b.open(t), "r0")
	before := b.open(t)
	old := r.Applied()
	appendEntry(t, before, coherence.Intent, "old")
	r.stop()
	r.outline()
	if err := b.admin.DeleteStream(t.Context(), streamName); err != nil {
		t.Fatal(err)
	}
	other := b.open(t) // creates it anew
	follow(t, other, "other")
	var last subjects.Revision
	for _, id := range []string{"one", "two", "three"} { // past where r was
		last = appendEntry(t, other, coherence.Intent, id)
	}
	if end, err := before.End(t.Context()); err != nil || end.Compare(last) < 0 || end.Compare(old) <= 0 {
		t.Errorf("the new stream ends at %v, %v; the old at %v", end, err, old)
	}
	r.run(t)
	if got := r.outline(); got != "all one two three" {
		t.Errorf("it dropped %q", got)
	}
	if at := r.Applied(); at.Compare(old) <= 0 {
		t.Errorf("revision %v is not after %v", at, old)
	}
}

func TestStreamSurvivesServerRestart(t *testing.T) {
	b := newStreamBed(t)
	r := newStreamReplica(t, b.open(t), "r0")
	before := r.Applied()
	b.server.Shutdown()
	b.server.WaitForShutdown()
	untrusted := func() bool { return r.Trust() != coherence.Trusted }
	for deadline := time.Now().Add(15 * time.Second); !untrusted(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("without its server the replica goes on trusting its cache")
		}
	}
	b.start(t)
	r.trusts(t)
	if got := r.outline(); got != "" {
		t.Errorf("it dropped %q, though nothing was missed", got)
	}
	if revision, _, err := r.Write(t.Context(), streamKey("db"), "w1", stored); err != nil || revision.Stream == 0 || before.Stream != 0 && revision.Stream != before.Stream {
		t.Errorf("a write is at %v, %v", revision, err)
	}
}

func TestStreamUnreadableEntry(t *testing.T) {
	b := newStreamBed(t)
	f := follow(t, b.open(t), "r0")
	flush := subjects.Event{Kind: coherence.Flush}
	entry := func(kind subjects.EventKind, id string) string {
		return string(subjects.Append(nil, &subjects.Event{Kind: kind, Target: streamKey(id)}))
	}
	for _, test := range []struct {
		subject, body string
		want          subjects.Event
	}{
		{"cred.v1.coherence.event.org:acme.team:eng.db", "\xc1garbage", flush},
		{"cred.v1.coherence.event.org:acme.team:eng.db", "", flush},
		{"cred.v1.coherence.event.garbage", "\xc1", flush},
		{"cred.v1.coherence.log.intent", "\x81\xa2id\xa1", flush},
		{"cred.v1.coherence.log.newer", "\xc1", flush},
		// A kind belongs on its own subject.
		{"cred.v1.coherence.event.org:acme.team:eng.db", entry(coherence.Intent, "db"), flush},
		{"cred.v1.coherence.log.intent", entry(subjects.EventStored, "db"), flush},
		{"cred.v1.coherence.log.intent", entry(coherence.Flush, "db"), flush},
		// A body may name another key than its subject: the subject counts.
		{"cred.v1.coherence.event.org:acme.team:eng.db", entry(subjects.EventDeleted, "other"),
			subjects.Event{Kind: subjects.EventDeleted, Target: streamKey("db")}},
	} {
		ack, err := b.admin.Publish(t.Context(), test.subject, []byte(test.body))
		if err != nil {
			t.Fatal(err)
		}
		steps := f.until(t, test.subject, func(s step) bool { return s.at.Seq == ack.Sequence })
		if got := steps[len(steps)-1].entry; got != test.want {
			t.Errorf("%s with %q: applied %+v, want %+v", test.subject, test.body, got, test.want)
		}
	}
}

func TestStreamWithoutJetStream(t *testing.T) {
	b := &streamBed{options: server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true}}
	b.start(t)
	t.Cleanup(b.server.Shutdown)
	nc := b.connect(t)
	var err error
	testbed.Prompt(t, 2*time.Second, func() {
		_, err = coherence.OpenStream(t.Context(), nc, coherence.StreamConfig{Name: streamName, Prefix: subjects.DefaultPrefix})
	})
	if err == nil || !strings.Contains(err.Error(), "enable it (jetstream {}") || !strings.Contains(err.Error(), "nats.url") {
		t.Errorf("the error is %v", err)
	}
}
