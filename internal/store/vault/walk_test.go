package vault_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"credbus/internal/store"
	"credbus/subjects"
)

// A walk asks for the names of a large directory once. It shows all records that existed
// when it began, even if others come meanwhile.
func TestWalkAsksForNamesOnce(t *testing.T) {
	const n = 1500
	b := sharedBed(t)
	config := b.config(t)
	writer := open(t, config)
	long := strings.Repeat("key-0500-", 20) // an ID of several pieces
	ids := []string{long + "a", long + "b"}
	for i := range n {
		ids = append(ids, fmt.Sprintf("key-%04d", i))
	}
	var writing sync.WaitGroup
	for at := range 8 {
		writing.Go(func() {
			for i := at; i < len(ids); i += 8 {
				if _, err := writer.Put(t.Context(), newRecord("org:acme", ids[i], "w1"), store.Precondition{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	var lists atomic.Int32
	p := b.proxy(t)
	p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == "LIST" || r.URL.Query().Has("list") {
			if strings.HasSuffix(strings.Trim(r.URL.Path, "/"), "org:acme") {
				lists.Add(1)
			}
		}
		next.ServeHTTP(w, r)
	})
	config.Address = p.URL
	s := open(t, config)
	lists.Store(0)
	shown := make(map[subjects.ID]int)
	pages := 0
	for opts := (store.ListOptions{Scope: "org:acme", Limit: 100}); ; pages++ {
		page, err := s.List(t.Context(), opts)
		must(t, err)
		for i, rec := range page.Records {
			if shown[rec.ID]++; i > 0 && page.Records[i-1].Compare(rec.Target) >= 0 {
				t.Errorf("%v comes after %v", rec.ID, page.Records[i-1].ID)
			}
		}
		put(t, writer, newRecord("org:acme", fmt.Sprintf("key-%04d-passing", pages*50), "w2"))
		if opts.After = page.Next; page.Next == "" {
			break
		}
	}
	for _, id := range ids {
		if shown[subjects.ID(id)] != 1 {
			t.Errorf("%s is shown %d times", id, shown[subjects.ID(id)])
		}
	}
	if got := lists.Load(); got != 1 {
		t.Errorf("the directory was listed %d times in %d pages, want once", got, pages+1)
	}
}
