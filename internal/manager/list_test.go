package manager_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// listed counts the calls and records that a list needs.
type listed struct {
	store.Store
	calls, records int
	wholePages     bool // like a provider that continues only after whole pages
}

func (l *listed) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	page, err := l.Store.List(ctx, opts)
	l.calls++
	l.records += len(page.Records)
	if l.wholePages {
		page.CursorAt = nil
	}
	return page, err
}

const tagged = 7 // one of this many has the tag

// putListed puts n records, of which some have a tag.
func putListed(t testing.TB, ring *seal.Keyring, s store.Store, n int, metadata func(i int) subjects.Metadata) {
	t.Helper()
	for i := range n {
		record := &store.Record{Target: subjects.Target{Scope: "org:acme/team:eng", ID: subjects.ID(fmt.Sprintf("id-%06d", i))}, WriteID: "w"}
		record.Metadata = metadata(i)
		var err error
		if record.Payload, record.Proof, err = ring.SealRecord(nil, manager.HeaderOf(record)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), record, store.Precondition{}); err != nil {
			t.Fatal(err)
		}
	}
}

func someTagged(i int) (m subjects.Metadata) {
	if i%tagged == 0 {
		m.Tags = map[string]string{"team": "eng"}
	}
	return m
}

// listAll walks all pages and returns the IDs that they show.
func (b *bed) listAll(t testing.TB, filter subjects.Filter, limit, maxBytes int) (ids []subjects.ID) {
	t.Helper()
	request := subjects.ListRequest{Scope: "org:acme", Filter: filter, Paging: subjects.Paging{Limit: limit}}
	for {
		size := 0
		reply, err := b.List(t.Context(), &request, maxBytes, func(msgpack []byte) int { return len(msgpack) })
		if err != nil {
			t.Fatal(err)
		}
		for i := range reply.Items {
			ids = append(ids, reply.Items[i].ID)
			size += len(subjects.Append(nil, &reply.Items[i]))
		}
		if len(reply.Items) > limit || size > maxBytes {
			t.Fatalf("a page has %d items and %d bytes: %d and %d are allowed", len(reply.Items), size, limit, maxBytes)
		}
		if request.Cursor = reply.Cursor; reply.Cursor == "" {
			return ids
		}
	}
}

// TestListReadsEachRecordOnce: the reads of a list must be proportional to the
// number of records, whatever the filter, the size of the page, and the size of
// the items.
func TestListReadsEachRecordOnce(t *testing.T) {
	const records, most = 3000, 1.35
	large := strings.Repeat("d", 1000)
	for name, test := range map[string]struct {
		filter     subjects.Filter
		limit      int
		maxBytes   int
		metadata   func(int) subjects.Metadata
		wholePages bool
		want       int
		calls      int // at most
	}{
		"all":                    {limit: 100, maxBytes: 1 << 20, metadata: someTagged, want: records, calls: 30},
		"by tag":                 {filter: subjects.Filter{Tags: map[string]string{"team": "eng"}}, limit: 100, maxBytes: 1 << 20, metadata: someTagged, want: (records + tagged - 1) / tagged, calls: 60},
		"by a tag that none has": {filter: subjects.Filter{Tags: map[string]string{"team": "none"}}, limit: 100, maxBytes: 1 << 20, metadata: someTagged, want: 0, calls: 30},
		"by tag, whole pages":    {filter: subjects.Filter{Tags: map[string]string{"team": "eng"}}, limit: 100, maxBytes: 1 << 20, metadata: someTagged, wholePages: true, want: (records + tagged - 1) / tagged, calls: 60},
		"of many bytes": {limit: 100, maxBytes: 64 << 10, want: records, calls: 130,
			metadata: func(int) subjects.Metadata { return subjects.Metadata{Description: large} }},
	} {
		t.Run(name, func(t *testing.T) {
			counted := &listed{Store: memory.New(), wholePages: test.wholePages}
			ring := keyring(t)
			putListed(t, ring, counted, records, test.metadata)
			b := newBed(t, counted, nil, func(c *manager.Config) { c.Keyring = ring })
			ids := b.listAll(t, test.filter, test.limit, test.maxBytes)
			for i := 1; i < len(ids); i++ {
				if ids[i-1] >= ids[i] {
					t.Fatalf("%s is shown after %s", ids[i], ids[i-1])
				}
			}
			if len(ids) != test.want {
				t.Errorf("%d are shown, want %d", len(ids), test.want)
			}
			if counted.calls > test.calls || float64(counted.records) > most*records {
				t.Errorf("the store had %d calls for %d records in total, want at most %d and %.0f", counted.calls, counted.records, test.calls, most*records)
			}
		})
	}
}

// BenchmarkListAll walks a file store with and without a filter, in one run:
//
//	TMPDIR=/dev/shm go test ./internal/manager -run '^$' -bench ListAll -benchtime 1x
func BenchmarkListAll(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		if n > 10_000 && testing.Short() {
			b.Skip("-short: storing 100,000 credentials takes most of a minute; make bench-cache without SHORT=-short does")
		}
		s, err := file.New(file.Config{Dir: b.TempDir() + "/store"})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close(b.Context())
		ring := keyring(b)
		putListed(b, ring, s, n, someTagged)
		bed := newBed(b, s, nil, func(c *manager.Config) { c.Keyring = ring })
		for _, way := range []struct {
			name   string
			filter subjects.Filter
		}{
			{"all", subjects.Filter{}},
			{"tag", subjects.Filter{Tags: map[string]string{"team": "eng"}}},
			{"no-such-tag", subjects.Filter{Tags: map[string]string{"team": "none"}}},
			{"expiring", subjects.Filter{ExpiresBefore: time.Now()}},
		} {
			b.Run(fmt.Sprintf("%d/%s", n, way.name), func(b *testing.B) {
				for b.Loop() {
					bed.listAll(b, way.filter, subjects.DefaultListItems, 1<<20)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
			})
		}
	}
}
