package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"credbus/internal/store"
	"credbus/subjects"
)

// Config says which store keeps what.
type Config struct {
	// Stores are the stores by name. Names must not be empty or contain a
	// space.
	Stores map[string]store.Store
	// Default names the store for scopes without a route.
	Default string
	// Routes has the names of stores by the scope that they keep, with all
	// below it.
	Routes map[subjects.Scope]string
}

// Router is a store.Native and a store.MultiGetter for scopes whose stores are.
type Router struct {
	stores map[string]store.Store
	routes map[subjects.Scope]string // the route of subjects.Root is the default
	names  []string                  // names of the stores, in the order of lists
}

var (
	_ store.Native      = (*Router)(nil)
	_ store.MultiGetter = (*Router)(nil)
)

// New checks config and returns a router. Its Close closes the stores.
func New(config Config) (*Router, error) {
	r := &Router{stores: maps.Clone(config.Stores), routes: make(map[subjects.Scope]string)}
	maps.Copy(r.routes, config.Routes)
	if name, ok := r.routes[subjects.Root]; ok {
		return nil, fmt.Errorf("router: the root is routed to %q: make it the default instead", name)
	}
	r.routes[subjects.Root] = config.Default
	for scope, name := range r.routes {
		if _, err := subjects.ParseScope(string(scope)); err != nil {
			return nil, fmt.Errorf("router: %w", err)
		}
		if r.stores[name] == nil {
			return nil, fmt.Errorf("router: %q is routed to %q: there is no such store", scope, name)
		}
	}
	for name := range r.stores {
		if name == "" || strings.Contains(name, separator) {
			return nil, fmt.Errorf("router: %q is not a valid name of a store", name)
		}
	}
	r.names = slices.SortedFunc(maps.Keys(r.stores), func(a, b string) int {
		if (a == config.Default) != (b == config.Default) {
			if a == config.Default {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return r, nil
}

// Name returns the name of the store that keeps a scope's own credentials.
func (r *Router) Name(scope subjects.Scope) string {
	for ; ; scope = scope.Parent() {
		if name, ok := r.routes[scope]; ok {
			return name
		}
	}
}

// Routed returns the names of the stores that keep a scope and all below it, in
// the order in which a list goes through them.
func (r *Router) Routed(scope subjects.Scope) (names []string) {
	keeps := map[string]bool{r.Name(scope): true}
	for below, name := range r.routes {
		if scope.Contains(below) {
			keeps[name] = true
		}
	}
	for _, name := range r.names {
		if keeps[name] {
			names = append(names, name)
		}
	}
	return names
}

// of returns the store of a scope, and its name.
func (r *Router) of(scope subjects.Scope) (store.Store, string) {
	name := r.Name(scope)
	return r.stores[name], name
}

// told adds the name of the store to its error, if there are several stores.
func (r *Router) told(name string, err error) error {
	if err == nil || len(r.stores) == 1 {
		return err
	}
	return fmt.Errorf("store %s: %w", name, err)
}

// Get implements store.Store.
func (r *Router) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	s, name := r.of(key.Scope)
	rec, err := s.Get(ctx, key)
	return rec, r.told(name, err)
}

// Put implements store.Store.
func (r *Router) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	s, name := r.of(rec.Scope)
	version, err := s.Put(ctx, rec, pre)
	return version, r.told(name, err)
}

// Delete implements store.Store.
func (r *Router) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	s, name := r.of(key.Scope)
	return r.told(name, s.Delete(ctx, key, pre))
}

// Native implements store.Native.
func (r *Router) Native(scope subjects.Scope) bool {
	s, _ := r.of(scope)
	return store.IsNative(s, scope)
}

// Close implements store.Store: it closes all stores at the same time, since
// each may need all of the time.
func (r *Router) Close(ctx context.Context) error {
	errs := make([]error, len(r.names))
	var closing sync.WaitGroup
	for i, name := range r.names {
		closing.Go(func() { errs[i] = r.told(name, r.stores[name].Close(ctx)) })
	}
	closing.Wait()
	return errors.Join(errs...)
}
