package manager

import (
	"context"
	"errors"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"credbus/internal/limits"
	"credbus/internal/store"
	"credbus/subjects"
)

// quota refuses new credentials of scopes that have as many as they may have.
//
//	store ─► admit ─ fewer than the limit, even if each write since the last count made one ─► yes
//	           ├─ the credential exists ─► yes
//	           └─ count again ─► fewer than the limit? yes or no
//
// Each write of this worker, and each that this worker hears of, may have made a credential until
// the next count. So the store is listed once for each scope, and then only near the limit. Writes
// of several workers that have not heard of each other's can pass the limit together.
type quota struct {
	quotas limits.Quotas
	store  store.Store
	wait   time.Duration // for one call of the store
	items  int           // of a page
	counts *lru.Cache[subjects.Scope, *count]
	lists  singleflight.Group // by scope
}

// count is how many credentials a scope and all below it have at most.
type count struct {
	mu      sync.Mutex
	known   bool
	listed  int64     // when the store was listed, at least the limit if it had more
	made    int64     // by writes that have ended since that list began
	pending int64     // by writes under way
	fewer   bool      // a credential was deleted since
	at      time.Time // of the list
}

const (
	// maxCounts bounds the scopes whose counts are kept.
	maxCounts = 10_000
	// recountAfter is the least time between two lists of a scope, and recountFull that of a
	// scope that was found full and of which nothing was deleted, as far as this worker heard.
	recountAfter = 100 * time.Millisecond
	recountFull  = 10 * time.Second
	// recountAnyway is how long a count is kept, as a write may have been announced to
	// nobody.
	recountAnyway = 10 * time.Minute
	// longestList bounds the list of a scope. Callers do not wait longer than their own time,
	// and the list goes on for the next one.
	longestList = 5 * time.Minute
)

func newQuota(rules []limits.Rule, r *records) *quota {
	if len(rules) == 0 {
		return nil
	}
	counts, err := lru.New[subjects.Scope, *count](maxCounts)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &quota{quotas: limits.NewQuotas(rules), store: r.config.Store, wait: r.config.ReadTimeout, items: r.config.BatchItems, counts: counts}
}

// admit reserves a place for a credential that a write may make, or refuses the write. The
// caller must call settle when the write has ended, and say whether it may have taken effect.
func (q *quota) admit(ctx context.Context, key subjects.Target) (settle func(stored bool), err error) {
	if q == nil {
		return func(bool) {}, nil
	}
	var held []*count
	settle = func(stored bool) {
		for _, c := range held {
			c.mu.Lock()
			c.pending--
			if stored {
				c.made++
			}
			c.mu.Unlock()
		}
	}
	for _, limit := range q.quotas.Of(key.Scope) {
		c := q.count(limit.Scope)
		if !c.reserve(limit.Most) {
			exists, err := q.exists(ctx, key)
			if err == nil && !exists {
				err = q.recount(ctx, c, limit)
			}
			if err != nil || exists {
				settle(false)
				return func(bool) {}, err
			}
		}
		held = append(held, c)
	}
	return settle, nil
}

// heard notes a write of a credential in a scope: of another worker, or a delete of any.
func (q *quota) heard(scope subjects.Scope, kind subjects.EventKind) {
	if q == nil {
		return
	}
	for _, limit := range q.quotas.Of(scope) {
		if c, ok := q.counts.Peek(limit.Scope); ok {
			c.mu.Lock()
			if kind == subjects.EventDeleted {
				c.fewer = true
			} else {
				c.made++
			}
			c.mu.Unlock()
		}
	}
}

func (q *quota) count(scope subjects.Scope) *count {
	if c, ok := q.counts.Get(scope); ok {
		return c
	}
	c := new(count)
	if earlier, ok, _ := q.counts.PeekOrAdd(scope, c); ok {
		return earlier
	}
	return c
}

// reserve takes a place if there is certainly one.
func (c *count) reserve(most int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known || time.Since(c.at) > recountAnyway || c.listed+c.made+c.pending >= most {
		return false
	}
	c.pending++
	return true
}

// fresh returns for how long the count need not be made anew, 0 if it must.
func (c *count) fresh(most int64) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := recountAfter
	if c.listed >= most && !c.fewer {
		keep = recountFull
	}
	if !c.known {
		return 0
	}
	return max(0, keep-time.Since(c.at))
}

func (q *quota) exists(ctx context.Context, key subjects.Target) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, q.wait)
	defer cancel()
	record, err := q.store.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case errors.Is(err, store.ErrDamaged):
		return true, nil
	case err != nil:
		return false, err
	}
	record.Data.Wipe()
	return true, nil
}

// recount lists the scope unless that was just done, and takes a place if there is one. All who
// want a place share one list.
func (q *quota) recount(ctx context.Context, c *count, limit limits.Quota) error {
	if c.fresh(limit.Most) == 0 {
		listed := q.lists.DoChan(string(limit.Scope), func() (any, error) { return nil, q.list(c, limit) })
		select {
		case result := <-listed:
			if result.Err != nil {
				return result.Err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if c.reserve(limit.Most) {
		return nil
	}
	c.mu.Lock()
	full := c.listed >= limit.Most && !c.fewer
	c.mu.Unlock()
	if !full { // the places may be taken by writes that replaced a credential, or failed
		busy := subjects.Errorf(subjects.ResourceExhausted, "%s may have %d credentials (limits.credentials of the worker), and the worker must count them again, so nothing was stored: send it again in a moment", limit.Scope, limit.Most)
		busy.RetryAfter = max(c.fresh(limit.Most), 10*time.Millisecond)
		return busy
	}
	refused := subjects.Errorf(subjects.ResourceExhausted, "%s has the %d credentials that it may have (limits.credentials of the worker), so nothing was stored: delete one that is not needed, or ask the operator for more", limit.Scope, limit.Most)
	refused.Retryable = false // a repeat makes no room
	return refused
}

// list counts the credentials of a scope, up to the limit.
func (q *quota) list(c *count, limit limits.Quota) error {
	ctx, cancel := context.WithTimeout(context.Background(), longestList)
	defer cancel()
	c.mu.Lock()
	// The list has what was made before it; from here on, it may miss what is made, or have what is
	// deleted. Until it ends, the count before it holds, with all that was made since.
	before := c.made
	c.fewer = false
	c.mu.Unlock()
	listed, begun := int64(0), time.Now()
	options := store.ListOptions{Scope: limit.Scope, Limit: q.items, Bytes: pageBytes}
	for {
		page, err := q.page(ctx, options)
		if err != nil {
			c.mu.Lock()
			c.fewer = true // perhaps: that was forgotten
			c.mu.Unlock()
			return err
		}
		listed += int64(len(page.Records))
		if page.Next == "" || listed >= limit.Most {
			break
		}
		options.After = page.Next
	}
	c.mu.Lock()
	c.known, c.listed, c.at = true, listed, begun
	c.made -= before
	c.mu.Unlock()
	return nil
}

func (q *quota) page(ctx context.Context, options store.ListOptions) (store.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, q.wait)
	defer cancel()
	return q.store.List(ctx, options)
}
