// Package storetest asks every store the same hard questions.
//
// A driver's test gives [Run] a way to open an empty store and says where its
// backend honestly differs:
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
//	     ├─ batch.go          several records at once, where a store has a way of its own
//	     ├─ foreign.go        what a program without the keyring puts there
//	     ├─ behind.go         reads that are behind, where a backend has such
//	     ├─ identity.go       whether workers see that they share a store, or do not
//	     └─ watch.go          changes of both kinds of origin are told, where a store watches
//
// A driver that keeps values in its provider's own form runs the suite a second
// time with Features.Native: then each record has Data in place of Payload.
//
// A driver does what this suite asks and no more, so whatever a caller relies
// on is asked here. That the questions are able to fail is tested too: each
// store of mutants_test.go breaks one rule, and must not pass.
//
// [RunFaults] stops the process that is a store's backend, and asks what becomes
// of the calls and the records. [Faults] wraps a store and makes it slow, failing or silent on demand, for
// the tests of whoever calls stores.
package storetest
