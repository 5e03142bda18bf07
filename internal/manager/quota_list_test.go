package manager

import (
	"context"
	"sync"
	"testing"
	"time"

	"credbus/internal/limits"
	"credbus/internal/store"
	"credbus/internal/store/memory"
)

// While a scope is listed again, the count before holds, with all that was made since.
func TestQuotaDuringAList(t *testing.T) {
	c := &count{known: true, at: time.Now(), listed: 3, made: 2}
	lists, release := make(chan struct{}), make(chan struct{})
	q := &quota{wait: time.Minute, items: 10, store: waitingLists{memory.New(), lists, release}}
	var listed sync.WaitGroup
	listed.Go(func() {
		if err := q.list(c, limits.Quota{Scope: "org:acme", Most: 5}); err != nil {
			t.Error(err)
		}
	})
	<-lists
	if c.reserve(5) {
		t.Error("there is a place for a sixth")
	}
	close(release)
	listed.Wait()
	if !c.reserve(5) || c.made != 0 {
		t.Errorf("an empty scope has no place, and %d were made", c.made)
	}
}

// waitingLists is a store whose list says that it has begun, and waits.
type waitingLists struct {
	store.Store
	begun, release chan struct{}
}

func (l waitingLists) List(ctx context.Context, options store.ListOptions) (store.Page, error) {
	close(l.begun)
	<-l.release
	return l.Store.List(ctx, options)
}
