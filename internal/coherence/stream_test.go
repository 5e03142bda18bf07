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
	"credbus/subjects"
)

func TestStreamHasOneOrder(t *testing.T) {
	b := newStreamBed(t)
	writers := []*coherence.Stream{b.open(t), b.open(t)}
	tales := []*tale{follow(t, writers[0]), follow(t, writers[1])}
	for _, f := range tales {
		if got := outline(f.current(t)); got != "begin current" {
			t.Fatalf("an empty stream begins with %q", got)
		}
	}
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
	for i, f := range tales {
		steps := f.applied(t, end)
		if len(steps) != 2*each+1 {
			t.Fatalf("follower %d was told %d steps: %s", i, len(steps), outline(steps))
		}
		for n, s := range steps[:2*each] {
			if s.at.Seq != uint64(n+1) || s.at != places[s.entry.ID] || s.entry.Scope != streamKey("").Scope {
				t.Fatalf("follower %d: step %d is %+v, appended at %v", i, n, s, places[s.entry.ID])
			}
		}
	}
}

// What happens to a stream while a follower is away decides whether it may go
// on where it was.
func TestStreamWhileAway(t *testing.T) {
	purge := func(options ...jetstream.StreamPurgeOpt) func(*testing.T, *streamBed) {
		return func(t *testing.T, b *streamBed) {
			if err := b.stream(t).Purge(t.Context(), options...); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(sequences ...uint64) func(*testing.T, *streamBed) {
		return func(t *testing.T, b *streamBed) {
			for _, seq := range sequences {
				if err := b.stream(t).DeleteMsg(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// Before, two entries are appended and applied; away, three more.
	for name, test := range map[string]struct {
		away func(*testing.T, *streamBed)
		want string
	}{
		"nothing":            {func(*testing.T, *streamBed) {}, "begin away3 away4 away5 current"},
		"seen ones purged":   {purge(jetstream.WithPurgeSequence(3)), "begin away3 away4 away5 current"},
		"some purged":        {purge(jetstream.WithPurgeKeep(1)), "gap away5 current"},
		"all purged":         {purge(), "gap current"},
		"first removed":      {remove(3), "gap away4 away5 current"},
		"one removed":        {remove(4), "begin away3 gap away5 current"},
		"last removed":       {remove(5), "begin away3 away4 gap current"},
		"all unseen removed": {remove(3, 4, 5), "gap current"},
		"limit": {func(t *testing.T, b *streamBed) {
			config := b.stream(t).CachedInfo().Config
			config.MaxMsgs = 1
			if _, err := b.admin.UpdateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
		}, "gap away5 current"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStreamBed(t)
			s, writer := b.open(t), b.open(t)
			f := follow(t, s)
			before := f.current(t)
			w := follow(t, writer)
			w.current(t)
			appendEntry(t, writer, coherence.Intent, "before1")
			f.applied(t, appendEntry(t, writer, coherence.Intent, "before2"))
			f.stop()
			var end subjects.Revision
			for n := 3; n <= 5; n++ {
				end = appendEntry(t, writer, coherence.Intent, fmt.Sprintf("away%d", n))
			}
			test.away(t, b)
			f = follow(t, s)
			steps := f.current(t)
			// A gap before the first entry shows when that comes.
			if got := strings.ReplaceAll(outline(steps), "begin gap", "gap"); got != test.want {
				t.Errorf("told %q, want %q", got, test.want)
			}
			if last := steps[len(steps)-1].at; last != end || last.Stream != before[len(before)-1].at.Stream {
				t.Errorf("current at %v, want %v", last, end)
			}
			next := appendEntry(t, writer, coherence.Intent, "next")
			if got := outline(f.applied(t, next)); got != "next" {
				t.Errorf("then told %q", got)
			}
		})
	}
}

func TestStreamDeletedAndMadeAnew(t *testing.T) {
	b := newStreamBed(t)
	s := b.open(t)
	f := follow(t, s)
	f.current(t)
	old := appendEntry(t, s, coherence.Intent, "old")
	f.applied(t, old)
	if err := b.admin.DeleteStream(t.Context(), streamName); err != nil {
		t.Fatal(err)
	}
	if got := outline(f.current(t)); got != "lost gap current" {
		t.Errorf("told %q", got)
	}
	anew := appendEntry(t, s, coherence.Intent, "anew")
	if got := outline(f.applied(t, anew)); got != "anew" {
		t.Errorf("then told %q", got)
	}
	if anew.Compare(old) <= 0 || anew.Seq != 1 {
		t.Errorf("revision %v comes after %v of the stream before", anew, old)
	}
}

func TestStreamReplacedWhileAway(t *testing.T) {
	b := newStreamBed(t)
	s := b.open(t)
	f := follow(t, s)
	f.current(t)
	old := appendEntry(t, s, coherence.Intent, "old")
	f.applied(t, old)
	f.stop()
	if err := b.admin.DeleteStream(t.Context(), streamName); err != nil {
		t.Fatal(err)
	}
	if at, err := s.End(t.Context()); err == nil {
		t.Errorf("a stream that is gone ends at %v", at)
	}
	other := b.open(t) // makes it anew
	o := follow(t, other)
	o.current(t)
	for _, id := range []string{"one", "two", "three"} { // past where s was
		appendEntry(t, other, coherence.Intent, id)
	}
	end, err := s.End(t.Context())
	if err != nil || end.Seq != 3 || end.Compare(old) <= 0 {
		t.Errorf("the new stream ends at %v, %v, before it is followed", end, err)
	}
	steps := follow(t, s).current(t)
	if got := outline(steps); got != "gap one two three current" {
		t.Errorf("told %q", got)
	}
	if at := steps[len(steps)-1].at; at.Compare(old) <= 0 {
		t.Errorf("revision %v is not after %v", at, old)
	}
}

func TestStreamSurvivesServerRestart(t *testing.T) {
	b := newStreamBed(t)
	s := b.open(t)
	f := follow(t, s)
	before := f.current(t)
	f.applied(t, appendEntry(t, s, coherence.Intent, "before"))
	b.server.Shutdown()
	b.server.WaitForShutdown()
	f.until(t, "lost", func(s step) bool { return s.what == "lost" })
	b.start(t)
	steps := f.current(t)
	if got := strings.ReplaceAll(outline(steps), "lost ", ""); got != "begin current" {
		t.Errorf("told %q", got)
	}
	after := appendEntry(t, s, coherence.Intent, "after")
	if got := outline(f.applied(t, after)); got != "after" {
		t.Errorf("then told %q", got)
	}
	if after.Stream != before[len(before)-1].at.Stream || after.Seq != 2 {
		t.Errorf("after the restart the revision is %v", after)
	}
}

func TestStreamUnreadableEntry(t *testing.T) {
	b := newStreamBed(t)
	f := follow(t, b.open(t))
	f.current(t)
	for _, test := range []struct {
		subject, body string
		want          subjects.Event
	}{
		{"cred.v1.event.org:acme.team:eng.db", "\xc1garbage", subjects.Event{Kind: coherence.Flush, Target: streamKey("db")}},
		{"cred.v1.event.org:acme.team:eng.db", "", subjects.Event{Kind: coherence.Flush, Target: streamKey("db")}},
		{"cred.v1.event.garbage", "\xc1", subjects.Event{Kind: coherence.Flush}},
		{"cred.v1.coherence.log.intent", "\x81\xa2id\xa1", subjects.Event{Kind: coherence.Flush}},
		{"cred.v1.coherence.log.newer", "\xc1", subjects.Event{Kind: coherence.Flush}},
		// A body that speaks of another key than its subject is about its subject's.
		{"cred.v1.event.org:acme.team:eng.db", string(subjects.Append(nil, &subjects.Event{Kind: subjects.EventDeleted, Target: streamKey("other")})),
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
	begun := time.Now()
	_, err := coherence.OpenStream(t.Context(), b.connect(t), coherence.StreamConfig{Name: streamName, Prefix: subjects.DefaultPrefix})
	if err == nil || !strings.Contains(err.Error(), "enable it (jetstream {}") || !strings.Contains(err.Error(), "nats.url") {
		t.Errorf("the error is %v", err)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}
