package coherence

import (
	"maps"
	"strings"

	"credbus/subjects"
)

// epochs count flushes, so that a token tells whether a flush of its key's scope, or of
// one above it, came after it. A flush voids no other tokens: tenants must not keep each
// other's reads out of the cache.
type epochs struct {
	last   uint64
	all    uint64 // of the last flush of everything
	scopes map[subjects.Scope]uint64
	stores map[string]uint64 // of the last flush of all that a store keeps
}

// maxEpochs bounds how many scopes are remembered.
const maxEpochs = 1024

// flush notes a flush of a scope and all below it.
func (e *epochs) flush(scope subjects.Scope) {
	e.last++
	if scope == subjects.Root {
		e.all, e.scopes = e.last, nil
		return
	}
	if len(e.scopes) >= maxEpochs {
		e.fold()
	}
	if e.scopes == nil {
		e.scopes = make(map[subjects.Scope]uint64)
	}
	e.scopes[scope] = e.last
}

// flushStore notes a flush of all that a store keeps. Routes may nest, so that is no
// subtree, and the flush is counted by the store's name.
func (e *epochs) flushStore(name string) {
	e.last++
	if e.stores == nil {
		e.stores = make(map[string]uint64)
	}
	e.stores[name] = e.last
}

// fold makes room. It takes the tenant with the most scopes, and replaces its deepest scopes
// by their ancestors until half are left. So a tenant that flushes many of its scopes voids
// only its own reads. If every tenant has one scope, fold voids all reads.
func (e *epochs) fold() {
	tenants := make(map[subjects.Scope]int)
	var largest subjects.Scope
	deepest := 0
	for scope := range e.scopes {
		tenant := above(scope, 1)
		if tenants[tenant]++; tenants[tenant] > tenants[largest] {
			largest = tenant
		}
		deepest = max(deepest, depth(scope))
	}
	before := tenants[largest]
	if before == 1 {
		for _, at := range e.scopes {
			e.all = max(e.all, at)
		}
		e.scopes = nil
		return
	}
	left := before
	for to := deepest - 1; left > before/2; to-- {
		for scope, at := range maps.Clone(e.scopes) {
			if depth(scope) <= to || !largest.Contains(scope) {
				continue
			}
			delete(e.scopes, scope)
			left--
			parent := above(scope, to)
			if _, ok := e.scopes[parent]; !ok {
				left++
			}
			e.scopes[parent] = max(e.scopes[parent], at)
		}
	}
}

func depth(scope subjects.Scope) int { return strings.Count(string(scope), "/") + 1 }

// above returns the ancestor of a scope at a depth.
func above(scope subjects.Scope, to int) subjects.Scope {
	for n := depth(scope); n > to; n-- {
		scope = scope.Parent()
	}
	return scope
}

// of is the last flush that concerned a scope. store names the store of that scope.
func (e *epochs) of(scope subjects.Scope, store string) uint64 {
	last := max(e.all, e.stores[store])
	if len(e.scopes) == 0 {
		return last
	}
	for ; scope != subjects.Root; scope = scope.Parent() {
		last = max(last, e.scopes[scope])
	}
	return last
}
