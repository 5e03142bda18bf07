// Package router makes one store of several: the longest route that matches a
// scope or a scope above it decides which store keeps it.
//
//	org:acme/team:eng/service:api ─┬─ org:acme/team:eng ─► store "vault"
//	                               ├─ org:acme          ─► store "bucket"
//	                               └─ (no route)        ─► the default
//
// Routes match whole segments of a scope: org:a does not match org:ab. Each
// store has its own policy in front, so that a failing store does not affect
// the others.
//
// If several stores keep parts of a scope, a list goes through them one after
// the other, the default first, then by name. The records of each are in its
// own order. A list leaves out records of a store whose scopes are routed
// elsewhere, since no Get would find them.
//
// A Router is not a store.Watcher, and neither is a policy. To watch, call
// Watch of each driver, and drop the changes of scopes for which Name returns
// another store.
package router
