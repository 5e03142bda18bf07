package router

import (
	"context"
	"slices"
	"sync"

	"credbus/internal/store"
	"credbus/subjects"
)

// Batches implements store.Batcher: of a scope that several stores keep, some may.
func (r *Router) Batches(scope subjects.Scope) bool {
	return slices.ContainsFunc(r.Routed(scope), func(name string) bool { return store.CanBatch(r.stores[name], scope) })
}

// part is the keys of a batch that are got with one call.
type part struct {
	store.Store
	name  string
	at    []int // places in the batch
	keys  []store.Key
	found []store.Found
	err   error
}

// GetBatch implements store.Batcher: each store is asked for its part at the
// same time. Keys of stores that do not batch are got one by one, all at once.
func (r *Router) GetBatch(ctx context.Context, keys []store.Key) ([]store.Found, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var parts []*part
	batches := make(map[string]*part)
	for i, key := range keys {
		s, name := r.of(key.Scope)
		p := batches[name]
		if p == nil {
			p = &part{Store: s, name: name}
			parts = append(parts, p)
			if store.CanBatch(s, key.Scope) {
				batches[name] = p
			}
		}
		p.at, p.keys = append(p.at, i), append(p.keys, key)
	}
	var calls sync.WaitGroup
	for _, p := range parts {
		calls.Go(func() { p.get(ctx, batches[p.name] == p) })
	}
	calls.Wait()

	found := make([]store.Found, len(keys))
	var err error
	failed := 0
	for _, p := range parts {
		if p.err != nil {
			failed, err = failed+1, r.told(p.name, p.err)
		}
		for i, at := range p.at {
			if p.err != nil {
				found[at].Err = err
				continue
			}
			found[at] = store.Found{Record: p.found[i].Record, Err: r.told(p.name, p.found[i].Err)}
		}
	}
	if failed > 0 && failed == len(parts) {
		return nil, err
	}
	return found, nil
}

func (p *part) get(ctx context.Context, batch bool) {
	if batch {
		p.found, p.err = p.Store.(store.Batcher).GetBatch(ctx, p.keys)
		return
	}
	rec, err := p.Get(ctx, p.keys[0])
	p.found = []store.Found{{Record: rec, Err: err}}
}
