package file

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/record"
	"credbus/subjects"
)

// lay puts a record's file into place as a write does, without its syncs, which
// would make most of a test of thousands.
func lay(t testing.TB, s *Store, key store.Key) {
	t.Helper()
	content, err := record.Encode(&store.Record{Key: key, WriteID: "w", Version: "v", Payload: []byte("sealed")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.root().MkdirAll(scopePath(key.Scope), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.root().WriteFile(recordPath(key), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB) *Store {
	t.Helper()
	s, err := New(Config{Dir: t.TempDir() + "/store"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func idAt(i int) subjects.ID { return subjects.ID(fmt.Sprintf("id-%06d", i)) }

// counting counts how often the names of directories are read.
func counting(s *Store, reads *int) func(subjects.Scope) (*names, error) {
	return func(scope subjects.Scope) (*names, error) {
		*reads++
		return s.readNames(scope)
	}
}

// TestWalkReadsNamesOnce: the names of a large directory are read at the
// beginning of a walk, and not with each of its pages, even when others write.
func TestWalkReadsNamesOnce(t *testing.T) {
	s := open(t)
	const n = 3 * snapshotLeast
	for i := range n {
		lay(t, s, store.Key{Scope: "org:acme", ID: idAt(i)})
	}
	begun, reads := time.Now(), 0
	seen := 0
	for after := (store.Key{}); ; {
		found, err := s.snapshots.names("org:acme", begun, counting(s, &reads))
		if err != nil {
			t.Fatal(err)
		}
		ids := found.idsAfter("org:acme", after)
		if len(ids) == 0 {
			break
		}
		seen += len(ids[:100])
		after = store.Key{Scope: "org:acme", ID: ids[99]}
		lay(t, s, store.Key{Scope: "org:acme", ID: subjects.ID(fmt.Sprint("a-", seen))}) // before where the walk stands
	}
	if reads != 1 || seen != n {
		t.Errorf("the names were read %d times in a walk that saw %d of %d", reads, seen, n)
	}
	if _, err := s.snapshots.names("org:acme", time.Now(), counting(s, &reads)); err != nil || reads != 2 {
		t.Errorf("a walk that began later got names that were read before it: %d reads, %v", reads, err)
	}
}

// TestWalkThatBeganElsewhere: a page may be asked of another process than the
// page before. What that process has read before the walk began is of no use to it.
func TestWalkThatBeganElsewhere(t *testing.T) {
	here := open(t)
	for i := range 2 * snapshotLeast {
		lay(t, here, store.Key{Scope: "org:acme", ID: idAt(2 * i)})
	}
	elsewhere, err := New(Config{Dir: here.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	list := func(s *Store, after string, limit int) store.Page {
		t.Helper()
		page, err := s.List(t.Context(), store.ListOptions{Scope: "org:acme", After: after, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	list(here, "", 10) // remembers the names
	late := store.Key{Scope: "org:acme", ID: idAt(2*snapshotLeast + 1)}
	lay(t, here, late)
	page := list(elsewhere, "", 10)
	seen := 0
	for next := page.Next; next != ""; next = page.Next {
		page = list(here, next, 500)
		for i := range page.Records {
			if page.Records[i].Key == late {
				seen++
			}
		}
	}
	if seen != 1 {
		t.Errorf("a record that was there when the walk began was shown %d times", seen)
	}
}

// TestSnapshotsAreBounded: the idlest go when there are too many names.
func TestSnapshotsAreBounded(t *testing.T) {
	var s snapshots
	defer s.close()
	big := func(n int) func(subjects.Scope) (*names, error) {
		return func(subjects.Scope) (*names, error) { return &names{segments: make([]string, n)}, nil }
	}
	for i := range 12 {
		if _, err := s.names(subjects.Scope(fmt.Sprint("org:", i)), time.Now(), big(snapshotMost/10)); err != nil {
			t.Fatal(err)
		}
	}
	if s.total > snapshotMost || len(s.kept) != 10 || s.kept["org:0"] != nil || s.kept["org:11"] == nil {
		t.Errorf("%d names of %d directories are remembered", s.total, len(s.kept))
	}
	if _, err := s.names("org:huge", time.Now(), big(snapshotMost+1)); err != nil || s.kept["org:huge"] != nil {
		t.Errorf("more names than are allowed are remembered (%v)", err)
	}
	if _, err := s.names("org:small", time.Now(), big(snapshotLeast-1)); err != nil || s.kept["org:small"] != nil {
		t.Errorf("few names are remembered (%v)", err)
	}
}

// TestSnapshotsAreForgotten when nobody walks.
func TestSnapshotsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s snapshots
		total := func() int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.total
		}
		if _, err := s.names("org:acme", time.Now(), func(subjects.Scope) (*names, error) {
			return &names{segments: make([]string, snapshotLeast)}, nil
		}); err != nil || total() != snapshotLeast {
			t.Fatalf("%d names are remembered (%v)", total(), err)
		}
		time.Sleep(2*snapshotIdle + time.Second)
		if n := total(); n != 0 {
			t.Errorf("%d names are remembered although nobody walks", n)
		}
	})
}

// TestListEndsAPageByBytes: a page ends once it has the bytes that were asked
// for, and goes on after any record of it.
func TestListEndsAPageByBytes(t *testing.T) {
	s := open(t)
	for i := range 20 {
		lay(t, s, store.Key{Scope: "org:acme", ID: idAt(i)})
	}
	page, err := s.List(t.Context(), store.ListOptions{Limit: 100, Bytes: 1000})
	if n := len(page.Records); err != nil || n < 2 || n > 4 || page.Next == "" {
		t.Fatalf("%d records, next %q, %v", n, page.Next, err)
	}
	page, err = s.List(t.Context(), store.ListOptions{Limit: 100, After: page.CursorAt(page.Records[0].Key)})
	if err != nil || len(page.Records) != 19 || page.Next != "" {
		t.Errorf("after the first record: %d records, next %q, %v", len(page.Records), page.Next, err)
	}
	for _, cursor := range []string{"org:acme/id@", "org:acme/id@x!", "@1", "org:acme/id@1@1"} {
		if _, err := s.List(t.Context(), store.ListOptions{After: cursor}); err == nil {
			t.Errorf("the cursor %q is taken", cursor)
		}
	}
	if _, err := s.List(t.Context(), store.ListOptions{After: "org:acme/id-000003"}); err != nil {
		t.Errorf("a cursor of an older release: %v", err)
	}
}

// BenchmarkWalk is a walk over a whole store, page by page; the time for a record
// must not grow with how many there are.
//
//	TMPDIR=/dev/shm go test ./internal/store/file -run '^$' -bench Walk -benchtime 1x
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		for _, limit := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%d/by%d", n, limit), func(b *testing.B) {
				s := open(b)
				for i := range n {
					lay(b, s, store.Key{Scope: "org:acme/team:eng", ID: idAt(i)})
				}
				for b.Loop() {
					seen := 0
					for opts := (store.ListOptions{Limit: limit}); ; {
						page, err := s.List(b.Context(), opts)
						if err != nil {
							b.Fatal(err)
						}
						seen += len(page.Records)
						if opts.After = page.Next; page.Next == "" {
							break
						}
					}
					if seen != n {
						b.Fatalf("%d of %d records", seen, n)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
			})
		}
	}
}
