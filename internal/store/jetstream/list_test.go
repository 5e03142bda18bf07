package jetstream_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"credbus/internal/store"
	"credbus/internal/store/jetstream"
	"credbus/subjects"
)

// Delete markers take no place on a page, however many there are.
func TestListPassesOverMarkers(t *testing.T) {
	b := newBed(t)
	s := b.open(t, "markers")
	for i := range 50 {
		rec := newRecord("org:acme", fmt.Sprintf("key-%02d", i), "w1")
		put(t, s, rec)
		if i%25 != 24 {
			must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
		}
	}
	var opts store.ListOptions
	for _, want := range []string{"key-24", "key-49"} {
		opts.Limit = 3
		page, err := s.List(t.Context(), opts)
		if err != nil || len(page.Records) != 1 || string(page.Records[0].ID) != want {
			t.Fatalf("page after %q: %+v, %v; want %s", opts.After, page, err, want)
		}
		opts.After = page.Next
	}
	if opts.After != "" {
		page, err := s.List(t.Context(), opts)
		if err != nil || len(page.Records) != 0 || page.Next != "" {
			t.Errorf("the last page: %+v, %v", page, err)
		}
	}
}

// A walk asks for the names once, even if records come and go meanwhile. Another client
// that continues it asks once more. If there are too many names to remember, each page
// asks. Every record that exists throughout the walk is shown once.
func TestWalkAsksForNamesOnce(t *testing.T) {
	const n = 2500
	b := newBed(t)
	writer := b.open(t, "walk")
	for i := range n {
		put(t, writer, newRecord(fmt.Sprintf("org:acme/team:t%d", i%3), fmt.Sprintf("key-%04d", i), "w1"))
	}
	var asked atomic.Int32
	conn := b.connect(t)
	_, err := conn.Subscribe("$JS.API.STREAM.INFO.KV_walk", func(*nats.Msg) { asked.Add(1) })
	must(t, err)
	must(t, conn.Flush())
	for _, test := range []struct {
		name    string
		most    int
		clients int
		want    int
	}{{"one client", store.WalksBytes, 1, 1}, {"two clients", store.WalksBytes, 2, 2}, {"too many names", 50 * n, 1, n/100 + 1}} {
		t.Run(test.name, func(t *testing.T) {
			jetstream.SetNamesBytes(t, test.most)
			var clients []*jetstream.Store
			for range test.clients {
				clients = append(clients, b.open(t, "walk"))
			}
			time.Sleep(10 * time.Millisecond) // for the requests of opening them
			must(t, conn.Flush())
			asked.Store(0)
			shown := make(map[subjects.Target]int)
			pages := 0
			for opts := (store.ListOptions{Scope: "org:acme", Limit: 100}); ; pages++ {
				page, err := clients[pages%len(clients)].List(t.Context(), opts)
				must(t, err)
				for _, rec := range page.Records {
					shown[rec.Target]++
				}
				// A record comes and goes during the walk.
				passing := newRecord("org:acme/team:t1", fmt.Sprintf("key-%04d-passing", pages*50), "w2")
				put(t, writer, passing)
				must(t, writer.Delete(t.Context(), passing.Target, store.Precondition{}))
				if opts.After = page.Next; page.Next == "" {
					break
				}
			}
			for key, times := range shown {
				if times != 1 {
					t.Errorf("%v is shown %d times", key, times)
				}
			}
			if len(shown) != n {
				t.Errorf("%d of %d keys in %d pages", len(shown), n, pages+1)
			}
			must(t, conn.Flush())
			if got := int(asked.Load()); got < test.want || got > test.want+1 {
				t.Errorf("names were asked for %d times in %d pages, want %d", got, pages+1, test.want)
			}
		})
	}
}

// The server returns 100,000 names at a time. A list must have all, even if there are
// more.
func TestListBeyondOneAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 101,500 keys")
	}
	const n = 101_500
	b := newBed(t)
	s := b.open(t, "many")
	rec := newRecord("org:sample/team:eng", "sample", "w1")
	put(t, s, rec)
	entry, err := b.keyValue(t, "many").Get(t.Context(), "org=sample.team=eng.sample")
	must(t, err)
	js, err := natsjs.New(b.connect(t), natsjs.WithPublishAsyncMaxPending(1000))
	must(t, err)
	for i := range n {
		// Each key has the record of another key, so it is listed as damaged.
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: fmt.Sprintf("$KV.many.org=acme.team=eng.key-%06d", i), Data: entry.Value()}, natsjs.WithStallWait(time.Minute))
		must(t, err)
	}
	<-js.PublishAsyncComplete()

	for _, from := range []int{0, 99_990, 101_000} {
		opts := store.ListOptions{Scope: "org:acme", Limit: 500}
		if from > 0 {
			opts.After = store.FormatCursor(newRecord("org:acme/team:eng", fmt.Sprintf("key-%06d", from-1), "").Target)
		}
		// The server takes seconds for an answer with so many names.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		page, err := s.List(ctx, opts)
		cancel()
		must(t, err)
		if len(page.Records) != 500 || (page.Next == "") != (from == 101_000) {
			t.Fatalf("from %d: %d records, next %q", from, len(page.Records), page.Next)
		}
		for i, rec := range page.Records {
			if want := fmt.Sprintf("key-%06d", from+i); string(rec.ID) != want || rec.Damaged == "" {
				t.Fatalf("from %d: record %d is %v, damaged by %q; want %s", from, i, rec.Target, rec.Damaged, want)
			}
		}
	}
}

// BenchmarkList1000Of10000 lists a page of 1,000 from the middle of 10,000 in one
// scope.
func BenchmarkList1000Of10000(b *testing.B) {
	bed := newBed(b)
	s := bed.open(b, "bench")
	for i := range 10_000 {
		put(b, s, newRecord("org:acme/team:eng", fmt.Sprintf("key-%05d", i), "w"))
	}
	after := store.FormatCursor(subjects.Target{Scope: "org:acme/team:eng", ID: "key-04999"})
	b.ReportAllocs()
	for b.Loop() {
		page, err := s.List(b.Context(), store.ListOptions{Scope: "org:acme", After: after, Limit: 1000})
		if err != nil || len(page.Records) != 1000 || page.Records[0].ID != "key-05000" {
			b.Fatalf("%d records, %v", len(page.Records), err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	bed := newBed(b)
	s := bed.open(b, "bench")
	rec := newRecord("org:acme/team:eng/service:api", "key", "w")
	rec.Payload = make([]byte, 400)
	put(b, s, rec)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), rec.Target); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	bed := newBed(b)
	s := bed.open(b, "bench")
	rec := newRecord("org:acme/team:eng/service:api", "key", "")
	rec.Payload = make([]byte, 400)
	for i := 0; b.Loop(); i++ {
		rec.WriteID = fmt.Sprint("w", i)
		put(b, s, rec)
	}
}
