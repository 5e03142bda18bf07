package coherence

import "credbus/subjects"

// epochs count flushes, so that a token tells whether a flush of its key's scope, or of
// one above it, came after it. A flush voids no other tokens: tenants must not keep each
// other's reads out of the cache.
type epochs struct {
	last   uint64
	all    uint64 // of the last flush of everything
	scopes map[subjects.Scope]uint64
	stores map[string]uint64 // of the last flush of all that a store keeps
}

// maxEpochs bounds the scopes that are remembered.
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
// subtree, and it is counted by the store's name.
func (e *epochs) flushStore(name string) {
	e.last++
	if e.stores == nil {
		e.stores = make(map[string]uint64)
	}
	e.stores[name] = e.last
}

// fold makes room: it replaces the largest group of scopes with the same parent by a flush
// of that parent. So a tenant that flushes many of its scopes voids only its own reads.
func (e *epochs) fold() {
	children := make(map[subjects.Scope]int)
	var most subjects.Scope
	for scope := range e.scopes {
		parent := scope.Parent()
		if children[parent]++; children[parent] > children[most] {
			most = parent
		}
	}
	var last uint64
	for scope, at := range e.scopes {
		if scope.Parent() == most {
			last = max(last, at)
			delete(e.scopes, scope)
		}
	}
	if most == subjects.Root {
		e.all = max(e.all, last)
	} else {
		e.scopes[most] = max(e.scopes[most], last)
	}
}

// of is the last flush that concerned a scope, which the store of that name keeps.
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
