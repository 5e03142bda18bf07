package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/audit"
	"credbus/subjects"
)

var quiet = slog.New(slog.DiscardHandler)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect starts a NATS server and connects to it.
func connect(t *testing.T, options server.Options) *nats.Conn {
	t.Helper()
	options.Host, options.Port, options.JetStream, options.NoSigs, options.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true, true
	options.StoreDir = t.TempDir()
	s, err := server.NewServer(&options)
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("w", "w"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func configOf(nc *nats.Conn, worker string) Config {
	return Config{Conn: nc, Prefix: subjects.DefaultPrefix, Worker: worker, Stream: "AUDIT", Replicas: 1, MaxBytes: 64 << 20, MaxAge: time.Hour, Logger: quiet}
}

// open opens the log of a worker.
func open(t *testing.T, sink audit.Sink, worker string) *audit.Log {
	t.Helper()
	l, err := audit.Open(t.Context(), audit.Config{Worker: worker, Required: true, Sinks: []audit.Sink{sink}, Logger: quiet})
	must(t, err)
	return l
}

func put(t *testing.T, l *audit.Log, id string) error {
	t.Helper()
	return l.Put(t.Context(), audit.Entry{
		Command: subjects.Store, Target: subjects.Target{Scope: "org:acme", ID: subjects.ID(id)}, Outcome: audit.OK, Caller: audit.Caller{Authority: "org:acme"},
	})
}

// untilStored stores a record, perhaps several times.
func untilStored(t *testing.T, l *audit.Log, id string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := put(t, l, id)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// blocks are what Page returns, page by page.
func blocks(t *testing.T, l *Log, request subjects.AuditRequest, room subjects.Room) (all []*audit.Block) {
	t.Helper()
	for range 1000 {
		reply, err := l.Page(t.Context(), &request, room)
		must(t, err)
		for _, b := range reply.Blocks {
			all = append(all, &audit.Block{Seq: b.Seq, Worker: b.Worker, Text: b.Block})
		}
		if request.Cursor = reply.Cursor; request.Cursor == "" {
			return all
		}
	}
	t.Fatal("the pages do not end")
	return nil
}

var roomy = subjects.Room{Limit: 1 << 20, Size: func(b []byte) int { return len(b) }}

func each(blocks []*audit.Block) iter.Seq2[*audit.Block, error] {
	return func(yield func(*audit.Block, error) bool) {
		for _, b := range blocks {
			if !yield(b, nil) {
				return
			}
		}
	}
}

// ids are those of the records of stores.
func ids(t *testing.T, blocks []*audit.Block) (all []string) {
	t.Helper()
	for r, err := range audit.RecordsOf(each(blocks)) {
		must(t, err)
		if r.Command == string(subjects.Store) {
			all = append(all, r.ID)
		}
	}
	return all
}

func problems(t *testing.T, blocks []*audit.Block) []string {
	t.Helper()
	report, err := audit.VerifyBlocks(each(blocks), "")
	must(t, err)
	return report.Problems
}

// TestPages: two workers write, and the pages have all that they wrote, in its order, whatever the
// size of a page.
func TestPages(t *testing.T) {
	nc := connect(t, server.Options{})
	var sinks []*Log
	var logs []*audit.Log
	for _, worker := range []string{"one", "two"} {
		sinks = append(sinks, New(configOf(nc, worker)))
		logs = append(logs, open(t, sinks[len(sinks)-1], worker))
	}
	var want []string
	var half time.Time
	for n := range 20 {
		if n == 10 {
			half = time.Now()
		}
		want = append(want, fmt.Sprint("id", n))
		must(t, put(t, logs[n%2], want[n]))
	}
	for _, l := range logs {
		must(t, l.Close(t.Context()))
	}
	for name, request := range map[string]subjects.AuditRequest{"": {}, "of three": {Paging: subjects.Paging{Limit: 3}}} {
		for _, limit := range []int{1 << 20, 2000} {
			room := roomy
			room.Limit = limit
			found := blocks(t, sinks[0], request, room)
			if got := ids(t, found); strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("pages %s of at most %d bytes have %v", name, limit, got)
			}
			if p := problems(t, found); len(p) > 0 {
				t.Errorf("%q", p)
			}
		}
	}
	found := blocks(t, sinks[0], subjects.AuditRequest{Since: half}, roomy)
	if got := ids(t, found); len(got) != 10 || got[0] != "id10" {
		t.Errorf("since half of them: %v", got)
	}
	if found := blocks(t, sinks[0], subjects.AuditRequest{Since: time.Now().Add(time.Hour)}, roomy); len(found) > 0 {
		t.Errorf("since later: %v", found)
	}
	for _, cursor := range []string{"x", "0-1", "1", "1-2-3", "01-2", "-1-2"} {
		if _, err := sinks[0].Page(t.Context(), &subjects.AuditRequest{Paging: subjects.Paging{Cursor: cursor}}, roomy); !errors.Is(err, errCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// TestVerifyBlocksFindsChanges changes what a stream has.
func TestVerifyBlocksFindsChanges(t *testing.T) {
	nc := connect(t, server.Options{})
	sink := New(configOf(nc, "one"))
	l := open(t, sink, "one")
	for n := range 4 {
		must(t, put(t, l, fmt.Sprint("id", n)))
	}
	must(t, l.Close(t.Context()))
	for name, change := range map[string]func([]*audit.Block) []*audit.Block{
		"nothing":        func(b []*audit.Block) []*audit.Block { return b },
		"a removed one":  func(b []*audit.Block) []*audit.Block { return append(b[:2:2], b[3:]...) },
		"a changed one":  func(b []*audit.Block) []*audit.Block { b[2].Text[40] ^= 1; return b },
		"one of another": func(b []*audit.Block) []*audit.Block { b[2].Worker = "two"; return b },
		"an unsealed one": func(b []*audit.Block) []*audit.Block {
			b[2].Text = b[2].Text[:strings.IndexByte(string(b[2].Text), '\n')+1]
			return b
		},
		"a copy": func(b []*audit.Block) []*audit.Block {
			return append(b, &audit.Block{Seq: b[len(b)-1].Seq + 1, Worker: "one", Text: b[1].Text})
		},
	} {
		changed := change(blocks(t, sink, subjects.AuditRequest{}, roomy))
		if found := problems(t, changed); (len(found) > 0) != (name != "nothing") {
			t.Errorf("%s: problems %q", name, found)
		}
	}
}

// deaf hides the first acknowledgements from the writer.
type deaf struct {
	*Log
	failures int
}

func (d *deaf) Write(ctx context.Context, block []byte, next audit.Head) error {
	last := d.last
	err := d.Log.Write(ctx, block, next)
	if d.failures > 0 {
		d.failures--
		d.last = last
		return errors.New("no acknowledgement came")
	}
	return err
}

// TestWriteTwice: a block whose acknowledgement was lost is stored once.
func TestWriteTwice(t *testing.T) {
	nc := connect(t, server.Options{})
	sink := &deaf{New(configOf(nc, "one")), 2}
	l := open(t, sink, "one")
	for range 100 { // the first ones may be refused, since they are not known to be stored
		if put(t, l, "id") == nil {
			break
		}
	}
	must(t, l.Close(t.Context()))
	found := blocks(t, sink.Log, subjects.AuditRequest{}, roomy)
	if p := problems(t, found); len(p) > 0 {
		t.Errorf("%q in %d blocks", p, len(found))
	}
}

// TestSomebodyElseWrites: what another one writes on the subject of a worker is not taken for its own.
func TestSomebodyElseWrites(t *testing.T) {
	nc := connect(t, server.Options{})
	sink := New(configOf(nc, "one"))
	l := open(t, sink, "one")
	must(t, put(t, l, "id"))
	_, err := nc.Request(sink.subject, []byte("{}"), time.Second)
	must(t, err)
	if err := put(t, l, "id"); err == nil {
		t.Error("a record was accepted")
	}
	if p := l.Problems(); len(p) != 1 || p[0].State != audit.StateFailing {
		t.Errorf("problems %v", p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if l.Close(ctx) == nil {
		t.Error("the last record was accepted")
	}
}

// TestFullStream: a stream that is full refuses, and removes nothing.
func TestFullStream(t *testing.T) {
	nc := connect(t, server.Options{})
	config := configOf(nc, "one")
	config.MaxBytes = 1 << 20
	sink := New(config)
	l := open(t, sink, "one")
	must(t, put(t, l, "first"))
	_, err := nc.Request(config.Prefix.Coherence(token+"filler"), make([]byte, 900<<10), 5*time.Second)
	must(t, err)
	for n := 0; n < 5000 && err == nil; n++ {
		err = put(t, l, strings.Repeat("y", 200)+fmt.Sprint(n))
	}
	if err == nil || !strings.Contains(err.Error(), "audit log") {
		t.Errorf("a full stream: %v", err)
	}
	found := blocks(t, sink, subjects.AuditRequest{}, roomy)
	if len(found) == 0 || found[0].Seq != 1 {
		t.Errorf("%d blocks remain", len(found))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	l.Close(ctx)
}

// TestNearlyFull: a worker warns before the stream is full, once.
func TestNearlyFull(t *testing.T) {
	nc := connect(t, server.Options{})
	var told bytes.Buffer
	config := configOf(nc, "one")
	config.MaxBytes, config.Logger = 1<<20, slog.New(slog.NewTextHandler(&told, nil))
	sink := New(config)
	l := open(t, sink, "one")
	must(t, put(t, l, "first"))
	must(t, l.Close(t.Context()))
	if told.Len() > 0 {
		t.Errorf("an empty stream: %s", told.String())
	}
	_, err := nc.Request(config.Prefix.Coherence(token+"filler"), make([]byte, 900<<10), 5*time.Second)
	must(t, err)
	config.Worker = "two"
	l = open(t, New(config), "two")
	for n := range 3 {
		must(t, put(t, l, fmt.Sprint(n)))
	}
	must(t, l.Close(t.Context()))
	if text := told.String(); strings.Count(text, "nearly full") != 1 || !strings.Contains(text, "percent=8") {
		t.Errorf("a stream with 900 KiB of 1 MiB: %s", text)
	}
}

// TestOpenRefuses: a server that takes no block, and a stream of another deployment.
func TestOpenRefuses(t *testing.T) {
	small := connect(t, server.Options{MaxPayload: 64 << 10})
	if _, err := New(configOf(small, "one")).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("small messages: %v", err)
	}
	nc := connect(t, server.Options{})
	other := configOf(nc, "one")
	other.Prefix = "other.v1"
	_, err := New(other).Open(t.Context())
	must(t, err)
	if _, err := New(configOf(nc, "one")).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "audit.stream.name") {
		t.Errorf("a stream of another deployment: %v", err)
	}
}

// TestIdle: a worker whose blocks have all become too old writes on.
func TestIdle(t *testing.T) {
	nc := connect(t, server.Options{})
	config := configOf(nc, "one")
	config.MaxAge = time.Second
	sink := New(config)
	l := open(t, sink, "one")
	must(t, put(t, l, "before"))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if state, err := sink.state(t.Context()); err == nil && state.Msgs == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the block is not removed")
		}
	}
	longer := sink.stream.CachedInfo().Config
	longer.MaxAge = time.Hour
	_, err := sink.js.UpdateStream(t.Context(), longer)
	must(t, err)
	untilStored(t, l, "after")
	found := blocks(t, sink, subjects.AuditRequest{}, roomy)
	if got := ids(t, found); len(got) == 0 || got[0] != "after" {
		t.Errorf("the stream has %v", got)
	}
	if p := problems(t, found); len(p) > 0 {
		t.Errorf("%q", p)
	}
	must(t, l.Close(t.Context()))
}

// TestDeletedStream: workers make the stream anew, and write on. That something was removed is found.
func TestDeletedStream(t *testing.T) {
	for _, who := range []string{"nobody else", "another worker"} {
		t.Run(who, func(t *testing.T) {
			nc := connect(t, server.Options{})
			sink := New(configOf(nc, "one"))
			l := open(t, sink, "one")
			must(t, put(t, l, "before"))
			must(t, sink.js.DeleteStream(t.Context(), "AUDIT"))
			if who == "another worker" {
				other := open(t, New(configOf(nc, "two")), "two")
				must(t, put(t, other, "other"))
				must(t, other.Close(t.Context()))
			}
			untilStored(t, l, "after")
			found := blocks(t, sink, subjects.AuditRequest{}, roomy)
			if got := ids(t, found); len(got) == 0 || got[len(got)-1] != "after" {
				t.Errorf("the stream has %v", got)
			}
			if p := problems(t, found); len(p) == 0 {
				t.Error("nobody finds that the stream was deleted")
			}
			must(t, l.Close(t.Context()))
		})
	}
}

// TestPageIsRefused: a server that refuses to be read is no empty log.
func TestPageIsRefused(t *testing.T) {
	nc := connect(t, server.Options{Users: []*server.User{{Username: "w", Password: "w", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Deny: []string{"$JS.API.DIRECT.GET.>"}},
	}}}})
	sink := New(configOf(nc, "one"))
	l := open(t, sink, "one")
	must(t, put(t, l, "id"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if reply, err := sink.Page(ctx, new(subjects.AuditRequest), roomy); err == nil {
		t.Errorf("%+v", reply)
	}
	must(t, l.Close(t.Context()))
}
