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
)

// Markers of deletes take no place on a page, however many there are.
func TestListPassesOverMarkers(t *testing.T) {
	b := newBed(t)
	s := b.open(t, "markers")
	for i := range 50 {
		rec := newRecord("org:acme", fmt.Sprintf("key-%02d", i), "w1")
		put(t, s, rec)
		if i%25 != 24 {
			must(t, s.Delete(t.Context(), rec.Key, store.Precondition{}))
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

// A walk asks for the names once, whatever comes and goes meanwhile, and another client
// that goes on with it once for itself. Where there are too many to remember, each page
// asks. All that exists throughout is shown once.
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
			time.Sleep(10 * time.Millisecond) // what opening them asks
			must(t, conn.Flush())
			asked.Store(0)
			shown := make(map[store.Key]int)
			pages := 0
			for opts := (store.ListOptions{Scope: "org:acme", Limit: 100}); ; pages++ {
				page, err := clients[pages%len(clients)].List(t.Context(), opts)
				must(t, err)
				for _, rec := range page.Records {
					shown[rec.Key]++
				}
				// What comes and goes in the middle of a walk.
				passing := newRecord("org:acme/team:t1", fmt.Sprintf("key-%04d-passing", pages*50), "w2")
				put(t, writer, passing)
				must(t, writer.Delete(t.Context(), passing.Key, store.Precondition{}))
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

// The server tells 100,000 names at a time; what lies across is told too.
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
		// Each holds the record of another key, so that it is listed as damaged.
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: fmt.Sprintf("$KV.many.org=acme.team=eng.key-%06d", i), Data: entry.Value()}, natsjs.WithStallWait(time.Minute))
		must(t, err)
	}
	<-js.PublishAsyncComplete()

	for _, from := range []int{0, 99_990, 101_000} {
		opts := store.ListOptions{Scope: "org:acme", Limit: 500}
		if from > 0 {
			opts.After = store.FormatCursor(newRecord("org:acme/team:eng", fmt.Sprintf("key-%06d", from-1), "").Key)
		}
		// The server works for seconds on an answer of so many names.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		page, err := s.List(ctx, opts)
		cancel()
		must(t, err)
		if len(page.Records) != 500 || (page.Next == "") != (from == 101_000) {
			t.Fatalf("from %d: %d records, next %q", from, len(page.Records), page.Next)
		}
		for i, rec := range page.Records {
			if want := fmt.Sprintf("key-%06d", from+i); string(rec.ID) != want || rec.Damaged == "" {
				t.Fatalf("from %d: record %d is %v, damaged by %q; want %s", from, i, rec.Key, rec.Damaged, want)
			}
		}
	}
}

// A page of 1,000 out of the middle of 10,000 in one scope.
func BenchmarkList1000Of10000(b *testing.B) {
	bed := newBed(b)
	s := bed.open(b, "bench")
	for i := range 10_000 {
		put(b, s, newRecord("org:acme/team:eng", fmt.Sprintf("key-%05d", i), "w"))
	}
	after := store.FormatCursor(store.Key{Scope: "org:acme/team:eng", ID: "key-04999"})
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
		if _, err := s.Get(b.Context(), rec.Key); err != nil {
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
