// Package router makes one store of several: each scope is kept by the store
// that the longest route to it or above it leads to.
//
//	org:acme/team:eng/service:api ─┬─ org:acme/team:eng ─► store "vault"
//	                               ├─ org:acme          ─► store "bucket"
//	                               └─ (no route)        ─► the default
//
// Routes match whole segments of a scope: org:a does not lead to what is in
// org:ab. In front of each store stands a policy of its own, so that one that
// fails is left alone while the others answer.
//
// A list whose scope is kept by several stores goes through one after the other,
// the default first, then by name: records of each are in its own order. What a
// store holds of scopes that are routed elsewhere is not shown, since no Get
// would find it.
//
// A Router is no store.Watcher, as a policy is none: who wants to know of
// changes watches the drivers, and drops what Name does not lead back to them.
package router
