package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"credbus/internal/store"
	"credbus/subjects"
)

// family holds scopes that share prefixes and levels.
var family = []string{
	"org:acme", "org:acme/team:eng", "org:acme/team:eng/service:api", "org:acme/team:eng-2", "org:acme/team:eng2",
	"org:acme-x", "org:acme-x/team:eng", "org:acme2", "org:acme2/team:eng", "org:acm", "org:Acme", "org:acme_",
	"orga:cme", "org-x:acme", "team:eng",
}

// fill puts a few credentials in every scope of family, and returns their keys
// in order.
func (s *subject) fill() []subjects.Target {
	s.Helper()
	var keys []subjects.Target
	for _, scope := range family {
		for _, id := range []string{"b", "B", "-", "_", "a-long-id", "0", "b0", "b-"} {
			key := keyOf(scope, id)
			s.put(s.record(key), store.Precondition{})
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, subjects.Target.Compare)
	return keys
}

// keysOf returns the keys of a list, sorted if the backend does not sort.
func (s *subject) keysOf(records []store.Record) []subjects.Target {
	keys := make([]subjects.Target, len(records))
	for i := range records {
		keys[i] = records[i].Target
	}
	if s.Features.Unordered {
		slices.SortFunc(keys, subjects.Target.Compare)
	}
	return keys
}

func (s *subject) expectKeys(what string, got, want []subjects.Target) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Errorf("%s: %d keys %v\nwant %d keys %v", what, len(got), got, len(want), want)
	}
}

func askListOrder(s *subject) {
	if page, err := s.List(s.ctx, store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 0 || page.Next != "" {
		s.Errorf("List of an empty store = %+v, %v", page, err)
	}
	keys := s.fill()
	s.expectKeys("the whole store", s.keysOf(s.walk(subjects.Root, len(keys))), keys)
}

func askListScopes(s *subject) {
	keys := s.fill()
	for _, scope := range append([]string{"", "org:ac", "org:acme/team:e", "org:nobody", "org:acme/team:eng/service:api/x:y"}, family...) {
		var want []subjects.Target
		for _, key := range keys {
			if key.Scope == subjects.Scope(scope) || scope == "" || strings.HasPrefix(string(key.Scope), scope+"/") {
				want = append(want, key)
			}
		}
		s.expectKeys("scope "+scope, s.keysOf(s.walk(subjects.Scope(scope), 7)), want)
	}
}

func askListPages(s *subject) {
	keys := s.fill()
	for limit := 1; limit <= len(keys)+1; limit++ {
		s.expectKeys(fmt.Sprintf("limit %d", limit), s.keysOf(s.walk(subjects.Root, limit)), keys)
		if limit > 12 {
			limit += 10
		}
	}
}

func askListCursors(s *subject) {
	s.fill()
	first := func(scope subjects.Scope) store.Page {
		page, err := s.List(s.ctx, store.ListOptions{Scope: scope, Limit: 3})
		if err != nil || page.Next == "" {
			s.Fatalf("first page of %q: %d records, next %q, %v", scope, len(page.Records), page.Next, err)
		}
		return page
	}
	refused := func(scope subjects.Scope, cursor string) {
		s.Helper()
		page, err := s.List(s.ctx, store.ListOptions{Scope: scope, After: cursor, Limit: 3})
		if !errors.Is(err, store.ErrCursor) || len(page.Records) != 0 {
			s.Errorf("List of %q after the cursor %q: %d records, %v; want ErrCursor", scope, cursor, len(page.Records), err)
		}
	}
	// If a list can continue after any record of a page, try it.
	if page := first("org:acme"); page.CursorAt != nil {
		rest, err := s.List(s.ctx, store.ListOptions{Scope: "org:acme", After: page.CursorAt(page.Records[0].Target), Limit: len(page.Records) - 1})
		if err != nil {
			s.Fatalf("List after the first record of a page: %v", err)
		}
		s.expectKeys("after the first record of a page", s.keysOf(rest.Records), s.keysOf(page.Records[1:]))
	}
	own := first("org:acme").Next
	for _, cursor := range []string{
		" ", "/", "x", "not a cursor", "org:acme", "org:acme/", "../../etc/passwd", "\x00", "\xff\xfe",
		strings.Repeat("org:acme/", 1000) + "x", own + "\x00", own + "/", "/" + own,
	} {
		refused("org:acme", cursor)
	}
	for _, scope := range []subjects.Scope{"org:acme2", "org:acme-x", "org:acme_", "team:eng"} {
		refused(scope, own)
		refused("org:acme", first(scope).Next)
	}

	// A cursor must still work after its record was deleted and others came
	// before and after it.
	const scope = subjects.Scope("org:acme")
	before := s.keysOf(s.walk(scope, 100))
	page := first(scope)
	seen := s.keysOf(page.Records)
	for _, key := range seen {
		s.remove(key)
	}
	late := keyOf("org:acme/zone:z", "late")
	s.put(s.record(keyOf(string(scope), "---")), store.Precondition{})
	s.put(s.record(late), store.Precondition{})
	unseen := make(map[subjects.Target]bool)
	for _, key := range before {
		unseen[key] = !slices.Contains(seen, key)
	}
	for next := page.Next; next != ""; next = page.Next {
		var err error
		if page, err = s.List(s.ctx, store.ListOptions{Scope: scope, After: next, Limit: 3}); err != nil {
			s.Fatalf("List after the delete of the cursor's record: %v", err)
		}
		for _, key := range s.keysOf(page.Records) {
			if was, ok := unseen[key]; ok && !was {
				s.Errorf("%v is shown twice, or after its delete", key)
			}
			unseen[key] = false
		}
	}
	for key, still := range unseen {
		if still {
			s.Errorf("%v existed throughout and is not shown", key)
		}
	}
}

// askListUnderChurn walks over many credentials while others are made, replaced
// and deleted.
func askListUnderChurn(s *subject) {
	n := s.Features.WalkRecords
	if n == 0 {
		n = defaultWalk
	}
	scopeOf := func(i int) string { return fmt.Sprintf("org:acme/team:t%d", i%5) }
	const writers = 8
	var fillers sync.WaitGroup
	for filler := range writers {
		fillers.Go(func() {
			for i := filler; i < n; i += writers {
				rec := s.record(keyOf(scopeOf(i), fmt.Sprintf("stays-%04d", i)))
				if _, err := s.Put(s.ctx, rec, store.Precondition{}); err != nil {
					s.Errorf("Put: %v", err)
					return
				}
			}
		})
	}
	fillers.Wait()

	stop := make(chan struct{})
	// The number of changes is limited: half of them happen between two pages,
	// however busy the machine is, the rest while pages are read. With all of
	// them, listing the store still ends in time.
	const atOnce = 32
	steps := make(chan struct{}, atOnce)
	stores := []store.Store{s.Store}
	if s.Other != nil {
		stores = append(stores, s.Other(s.T, s.Store))
	}
	var churn sync.WaitGroup
	for writer := range writers / 2 {
		through := stores[writer%len(stores)]
		churn.Go(func() {
			for step := 0; ; step++ {
				select {
				case <-stop:
					return
				case <-steps:
				}
				// Names of all lengths between the permanent ones, so that they
				// are on both sides of every cursor.
				i := rand.IntN(n)
				key := keyOf(scopeOf(i), fmt.Sprintf("stays-%04d-%s", i, strings.Repeat("x", step%20)))
				var err error
				switch step % 4 {
				case 0, 1:
					_, err = through.Put(s.ctx, s.record(key), store.Precondition{})
				case 2:
					err = through.Delete(s.ctx, key, store.Precondition{})
				case 3:
					_, err = through.Put(s.ctx, s.record(keyOf(scopeOf(i), fmt.Sprintf("stays-%04d", i))), store.Precondition{Present: true})
				}
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					s.Errorf("churn: %v", err)
					return
				}
			}
		})
	}
	change := func() {
		for range 2 * atOnce {
			select {
			case steps <- struct{}{}:
			case <-s.ctx.Done():
			}
		}
	}
	for _, limit := range []int{97, 1000} {
		times := make(map[subjects.Target]int)
		for _, rec := range s.walkAnd("org:acme", limit, change) {
			times[rec.Target]++
			if times[rec.Target] > 1 {
				s.Errorf("%v is shown twice in one walk", rec.Target)
			}
			if rec.Damaged != "" {
				s.Errorf("%v is shown as damaged: %s", rec.Target, rec.Damaged)
			}
		}
		for i := range n {
			if key := keyOf(scopeOf(i), fmt.Sprintf("stays-%04d", i)); times[key] != 1 {
				s.Errorf("%v existed throughout and is shown %d times", key, times[key])
			}
		}
	}
	close(stop)
	churn.Wait()
}
