package file

import (
	"context"
	"fmt"
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/record"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// lay puts a record's file into place like a write, but without syncs, because they
// would take most of the time of a test with thousands of files.
func lay(t testing.TB, s *Store, key subjects.Target) {
	t.Helper()
	content, err := record.Encode(&store.Record{Target: key, WriteID: "w", Version: "v", Payload: []byte("sealed")})
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
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func idAt(i int) subjects.ID { return subjects.ID(fmt.Sprintf("id-%06d", i)) }

// large is a number of names that a walk remembers.
const large = 2000

// TestWalkReadsNamesOnce: the names of a large directory are read at the
// beginning of a walk, and not with each of its pages, even when others write. So the
// pages do not show records that were added after the walk began.
func TestWalkReadsNamesOnce(t *testing.T) {
	s := open(t)
	for i := range large {
		lay(t, s, subjects.Target{Scope: "org:acme", ID: idAt(i)})
	}
	page, seen := store.Page{}, 0
	for page.Next != "" || seen == 0 {
		var err error
		if page, err = s.List(t.Context(), store.ListOptions{Scope: "org:acme", After: page.Next, Limit: 100}); err != nil {
			t.Fatal(err)
		}
		seen += len(page.Records)
		lay(t, s, subjects.Target{Scope: "org:acme", ID: subjects.ID(fmt.Sprint("z-", seen))}) // after the walk's cursor
	}
	if seen != large {
		t.Errorf("a walk saw %d records of %d that were there when it began: its names were read again", seen, large)
	}
	if page, err := s.List(t.Context(), store.ListOptions{Scope: "org:acme", Limit: 2 * large}); err != nil || len(page.Records) != large+large/100 {
		t.Errorf("a later walk has %d records (%v), so it uses names that were read before", len(page.Records), err)
	}
}

// TestWalkThatBeganElsewhere: another process may get the request for the next
// page. It must not use names that it read before the walk began.
func TestWalkThatBeganElsewhere(t *testing.T) {
	here := open(t)
	for i := range large {
		lay(t, here, subjects.Target{Scope: "org:acme", ID: idAt(2 * i)})
	}
	elsewhere, err := New(Config{Dir: here.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close(t.Context())
	list := func(s *Store, after string, limit int) store.Page {
		t.Helper()
		page, err := s.List(t.Context(), store.ListOptions{Scope: "org:acme", After: after, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	list(here, "", 10) // remembers the names
	late := subjects.Target{Scope: "org:acme", ID: idAt(large + 1)}
	lay(t, here, late)
	page := list(elsewhere, "", 10)
	seen := 0
	for next := page.Next; next != ""; next = page.Next {
		page = list(here, next, 500)
		for i := range page.Records {
			if page.Records[i].Target == late {
				seen++
			}
		}
	}
	if seen != 1 {
		t.Errorf("a record that was there when the walk began was shown %d times", seen)
	}
}

// TestListEndsAPageByBytes: a page ends once it has the requested bytes, and
// the list can continue after any record of it.
func TestListEndsAPageByBytes(t *testing.T) {
	s := open(t)
	for i := range 20 {
		lay(t, s, subjects.Target{Scope: "org:acme", ID: idAt(i)})
	}
	page, err := s.List(t.Context(), store.ListOptions{Limit: 100, Bytes: 1000})
	if n := len(page.Records); err != nil || n < 2 || n > 4 || page.Next == "" {
		t.Fatalf("%d records, next %q, %v", n, page.Next, err)
	}
	page, err = s.List(t.Context(), store.ListOptions{Limit: 100, After: page.CursorAt(page.Records[0].Target)})
	if err != nil || len(page.Records) != 19 || page.Next != "" {
		t.Errorf("after the first record: %d records, next %q, %v", len(page.Records), page.Next, err)
	}
	for _, cursor := range []string{"org:acme/id@", "org:acme/id@x!", "@1", "org:acme/id@1@1"} {
		if _, err := s.List(t.Context(), store.ListOptions{After: cursor}); err == nil {
			t.Errorf("the cursor %q is accepted", cursor)
		}
	}
	if _, err := s.List(t.Context(), store.ListOptions{After: "org:acme/id-000003"}); err != nil {
		t.Errorf("a cursor of an older release: %v", err)
	}
}

// BenchmarkWalk walks over a whole store.
//
//	TMPDIR=/dev/shm go test ./internal/store/file -run '^$' -bench Walk -benchtime 1x
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		if n > 10_000 && testing.Short() {
			b.Skip("-short: storing 100,000 credentials takes most of a minute; make bench-cache without SHORT=-short does")
		}
		for _, limit := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%d/by%d", n, limit), func(b *testing.B) {
				s := open(b)
				for i := range n {
					lay(b, s, subjects.Target{Scope: "org:acme/team:eng", ID: idAt(i)})
				}
				storetest.BenchmarkWalk(b, s, n, limit)
			})
		}
	}
}
