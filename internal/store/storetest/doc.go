// Package storetest asks every store the same hard questions.
//
// A driver's test gives [Run] a function that opens an empty store, and says
// where its backend differs:
//
//	storetest.Run(t, storetest.Harness{
//		Open:     func(t *testing.T) store.Store { ... },
//		Features: storetest.Features{Unordered: true},
//	})
//
//	Run ─┬─ basics.go         get, put, delete, revisions
//	     ├─ metadata.go       every field at its limits, and past them
//	     ├─ values.go         every byte and size, named values, what looks like an encoding
//	     ├─ names.go          names that a careless encoding merges, refuses or cuts off
//	     ├─ preconditions.go  every precondition in every state, write ids, versions
//	     ├─ lifecycle.go      contexts that ended, closing, whose memory is whose, damage
//	     ├─ concurrency.go    racing writers, creators, deleters, readers
//	     ├─ list.go           order, subtrees, pages, cursors, walks under churn
//	     ├─ elsewhere.go      what another process changes, deletes, creates again
//	     ├─ multi.go          several records at once, where a store has a way of its own
//	     ├─ foreign.go        what a program without the keyring puts there
//	     ├─ behind.go         reads that are behind, where a backend has such
//	     ├─ identity.go       whether workers see that they share a store, or do not
//	     └─ watch.go          changes of both kinds of origin are told, where a store watches
//
// A driver that keeps values in its provider's native form runs the suite a
// second time with Features.Native: then each record has Data instead of
// Payload.
//
// A driver does what this suite asks and no more, so the suite tests everything
// that a caller relies on. Tests also check that the questions can fail: each
// store of mutants_test.go breaks one rule, and must not pass.
//
// [RunFaults] stops the backend process of a store, and checks calls and
// records. [Faults] wraps a store and makes it slow, failing or silent on
// demand, for tests of the callers of stores.
package storetest
