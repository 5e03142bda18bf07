package manager_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/coherence/coherencetest"
	"credbus/internal/limits"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// countedStore counts the lists of a store, and can fail them.
type countedStore struct {
	store.Store
	lists atomic.Int64
	fail  atomic.Bool
}

func (s *countedStore) List(ctx context.Context, options store.ListOptions) (store.Page, error) {
	s.lists.Add(1)
	if s.fail.Load() {
		return store.Page{}, store.ErrUnavailable
	}
	return s.Store.List(ctx, options)
}

func newQuotaBed(t *testing.T, s store.Store, log *coherencetest.Log, rules ...limits.Rule) *bed {
	t.Helper()
	return newBed(t, s, log, func(c *manager.Config) { c.Credentials = rules })
}

// tryStore stores, and comes back as often as it is told to.
func (b *bed) tryStore(ctx context.Context, at subjects.Target) error {
	for {
		_, err := b.Store(ctx, &subjects.StoreItem{Target: at, Data: subjects.Value([]byte("v"))}, "")
		told, ok := errors.AsType[*subjects.Error](err)
		if !ok || !told.Retryable || told.RetryAfter == 0 {
			return err
		}
		time.Sleep(told.RetryAfter)
	}
}

func mustBeFull(t *testing.T, err error, scope string) {
	t.Helper()
	told, ok := errors.AsType[*subjects.Error](err)
	if !ok || told.Code != subjects.ResourceExhausted || told.Retryable || told.OutcomeUnknown || !strings.Contains(told.Message, scope+" has the ") {
		t.Fatalf("%v", err)
	}
}

func TestQuotaOfCredentials(t *testing.T) {
	s := &countedStore{Store: memory.New()}
	b := newQuotaBed(t, s, nil, limits.Rule{Pattern: "org:*", Most: 10}, limits.Rule{Pattern: "org:acme/team:eng", Most: 3})
	ctx := t.Context()
	for n := range 3 {
		if err := b.tryStore(ctx, target("org:acme/team:eng/service:api", fmt.Sprint("id", n))); err != nil {
			t.Fatal(err)
		}
	}
	mustBeFull(t, b.tryStore(ctx, target("org:acme/team:eng", "one-more")), "org:acme/team:eng")
	if err := b.tryStore(ctx, target("org:acme/team:eng/service:api", "id1")); err != nil {
		t.Errorf("one that exists cannot be replaced: %v", err)
	}
	if _, err := b.Patch(ctx, &subjects.PatchItem{Target: target("org:acme/team:eng/service:api", "id1"), Description: new("new")}, ""); err != nil {
		t.Errorf("one that exists cannot be patched: %v", err)
	}
	if _, err := b.Store(ctx, &subjects.StoreItem{Target: target("org:acme/team:eng/service:api", "id1"), Data: subjects.Value([]byte("v")), UpdateOnly: true}, ""); err != nil {
		t.Error(err)
	}
	for n := range 7 {
		if err := b.tryStore(ctx, target("org:acme/team:ops", fmt.Sprint("id", n))); err != nil {
			t.Fatal(err)
		}
	}
	mustBeFull(t, b.tryStore(ctx, target("org:acme", "one-more")), "org:acme")
	if err := b.tryStore(ctx, target("org:other", "id")); err != nil {
		t.Errorf("another org: %v", err)
	}
	if err := b.tryStore(ctx, target("team:x", "id")); err != nil {
		t.Errorf("a scope without a limit: %v", err)
	}
	if lists := s.lists.Load(); lists > 6 {
		t.Errorf("the store was listed %d times", lists)
	}
}

// Writes at once do not pass the limit together, and failed ones keep no place.
func TestQuotaOfWritesAtOnce(t *testing.T) {
	s := &countedStore{Store: memory.New()}
	b := newQuotaBed(t, s, nil, limits.Rule{Pattern: "org:*", Most: 5})
	var writers sync.WaitGroup
	var stored atomic.Int64
	for n := range 40 {
		writers.Go(func() {
			switch err := b.tryStore(t.Context(), target("org:acme", fmt.Sprint("id", n))); {
			case err == nil:
				stored.Add(1)
			case !errors.Is(err, &subjects.Error{Code: subjects.ResourceExhausted}):
				t.Error(err)
			}
		})
	}
	writers.Wait()
	page, err := s.Store.List(t.Context(), store.ListOptions{Scope: "org:acme", Limit: 100})
	if err != nil || stored.Load() != 5 || len(page.Records) != 5 {
		t.Errorf("%d were stored, %d are there: %v", stored.Load(), len(page.Records), err)
	}
}

// What another worker stores counts as well.
func TestQuotaOfTwoWorkers(t *testing.T) {
	s, log := memory.New(), coherencetest.NewLog()
	first := newQuotaBed(t, s, log, limits.Rule{Pattern: "org:*", Most: 4})
	second := newQuotaBed(t, s, log, limits.Rule{Pattern: "org:*", Most: 4})
	for n, b := range []*bed{first, second, first, second} {
		if err := b.tryStore(t.Context(), target("org:acme", fmt.Sprint("id", n))); err != nil {
			t.Fatal(err)
		}
		for _, other := range []*bed{first, second} {
			if other != b {
				other.Heard("org:acme", subjects.EventStored) // as a worker does when the end of the write arrives
			}
		}
	}
	mustBeFull(t, first.tryStore(t.Context(), target("org:acme", "one-more")), "org:acme")
	mustBeFull(t, second.tryStore(t.Context(), target("org:acme", "one-more")), "org:acme")
}

// If the store cannot be counted, nothing is written.
func TestQuotaWithoutACount(t *testing.T) {
	s := &countedStore{Store: memory.New()}
	s.fail.Store(true)
	b := newQuotaBed(t, s, nil, limits.Rule{Pattern: "org:*", Most: 4})
	err := b.tryStore(t.Context(), target("org:acme", "id"))
	if told, _ := manager.Explain(err, target("org:acme", "id")); told == nil || told.Code != subjects.StorageUnavailable || told.OutcomeUnknown {
		t.Errorf("%v", err)
	}
	if _, err := s.Get(t.Context(), target("org:acme", "id")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it was stored: %v", err)
	}
	s.fail.Store(false)
	if err := b.tryStore(t.Context(), target("org:acme", "id")); err != nil {
		t.Error(err)
	}
}

// After a delete there is room, at once.
func TestQuotaAfterADelete(t *testing.T) {
	b := newQuotaBed(t, memory.New(), nil, limits.Rule{Pattern: "org:*", Most: 2})
	for _, id := range []string{"a", "b"} {
		if err := b.tryStore(t.Context(), target("org:acme", id)); err != nil {
			t.Fatal(err)
		}
	}
	mustBeFull(t, b.tryStore(t.Context(), target("org:acme", "c")), "org:acme")
	if _, err := b.Delete(t.Context(), subjects.DeleteItem{Target: target("org:acme", "a")}); err != nil {
		t.Fatal(err)
	}
	if err := b.tryStore(t.Context(), target("org:acme", "c")); err != nil {
		t.Error(err)
	}
	mustBeFull(t, b.tryStore(t.Context(), target("org:acme", "d")), "org:acme")
}

// Writes that make no credential take no place: neither replacements nor failed ones, in this
// scope or in one beside it.
func TestQuotaOfWritesThatMakeNothing(t *testing.T) {
	b := newQuotaBed(t, memory.New(), nil, limits.Rule{Pattern: "org:*", Most: 3}, limits.Rule{Pattern: "org:acme/team:*", Most: 2})
	for range 10 {
		if err := b.tryStore(t.Context(), target("org:acme/team:a", "id")); err != nil {
			t.Fatal(err)
		}
		_, err := b.Store(t.Context(), &subjects.StoreItem{Target: target("org:acme/team:a", "id"), Data: subjects.Value([]byte("v")), CreateOnly: true}, "")
		if !errors.Is(err, store.ErrExists) {
			t.Fatal(err)
		}
	}
	for _, scope := range []string{"org:acme/team:b", "org:acme/team:a"} {
		if err := b.tryStore(t.Context(), target(scope, "new")); err != nil {
			t.Error(err)
		}
	}
	for range 5 {
		mustBeFull(t, b.tryStore(t.Context(), target("org:acme/team:c", "new")), "org:acme")
	}
	if _, err := b.Delete(t.Context(), subjects.DeleteItem{Target: target("org:acme/team:a", "id")}); err != nil {
		t.Fatal(err)
	}
	if err := b.tryStore(t.Context(), target("org:acme/team:c", "new")); err != nil {
		t.Errorf("a team without any credential: %v", err)
	}
}

// slowStore takes its time for a page of a list.
type slowStore struct{ store.Store }

func (s slowStore) List(ctx context.Context, options store.ListOptions) (store.Page, error) {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return store.Page{}, ctx.Err()
	}
	options.Limit = 1
	return s.Store.List(ctx, options)
}

// A list that outlasts a request goes on for the next one.
func TestQuotaOfALongList(t *testing.T) {
	s := slowStore{memory.New()}
	b := newQuotaBed(t, s, nil)
	for n := range 5 {
		if err := b.tryStore(t.Context(), target("org:acme", fmt.Sprint("id", n))); err != nil {
			t.Fatal(err)
		}
	}
	limited := newQuotaBed(t, s, nil, limits.Rule{Pattern: "org:*", Most: 10})
	impatient := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		return limited.tryStore(ctx, target("org:acme", "new"))
	}
	if err := impatient(); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		err := impatient()
		if err == nil {
			break
		}
		if n == 100 {
			t.Fatal(err)
		}
	}
}
