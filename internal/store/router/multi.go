package router

import (
	"context"
	"slices"
	"sync"

	"credbus/internal/store"
	"credbus/subjects"
)

// GetsMulti implements store.MultiGetter: if several stores keep the scope, it
// is true if any of them does.
func (r *Router) GetsMulti(scope subjects.Scope) bool {
	return slices.ContainsFunc(r.Routed(scope), func(name string) bool { return store.CanGetMulti(r.stores[name], scope) })
}

// part has the keys for one call.
type part struct {
	store.Store
	name  string
	at    []int // indices in the whole request
	keys  []subjects.Target
	found []store.Found
	err   error
}

// GetMulti implements store.MultiGetter: it reads from all stores at the same
// time. For stores that are not MultiGetters, it sends one Get for each key,
// all at once.
func (r *Router) GetMulti(ctx context.Context, keys []subjects.Target) ([]store.Found, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var parts []*part
	multi := make(map[string]*part)
	for i, key := range keys {
		s, name := r.of(key.Scope)
		p := multi[name]
		if p == nil {
			p = &part{Store: s, name: name}
			parts = append(parts, p)
			if store.CanGetMulti(s, key.Scope) {
				multi[name] = p
			}
		}
		p.at, p.keys = append(p.at, i), append(p.keys, key)
	}
	var calls sync.WaitGroup
	for _, p := range parts {
		calls.Go(func() { p.get(ctx, multi[p.name] == p) })
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

func (p *part) get(ctx context.Context, multi bool) {
	if multi {
		p.found, p.err = p.Store.(store.MultiGetter).GetMulti(ctx, p.keys)
		return
	}
	rec, err := p.Get(ctx, p.keys[0])
	p.found = []store.Found{{Record: rec, Err: err}}
}
