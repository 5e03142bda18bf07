// Package jobs carries out jobs: commands for up to a hundred credentials that a
// client puts into a durable queue and does not wait for.
//
//	client ─► queue (JetStream work queue, one durable consumer)
//	            └─► any worker ─► begin ─► items ─► manager ─► store
//	                                │        └─ checkpoint every second
//	                                └─► ledger (status of each job) ─► subscribers
//	                                └─► dead letters
//
// The queue delivers at least once; the ledger turns this into once. It has one
// entry for each job, and each change of an entry is a compare-and-set:
//
//	accepted ─► running ─► done | failed | cancelled
//	               └─ to be tried again ─┘
//
// A worker enters its name before it runs a job. If another worker takes over,
// the first one notices at its next checkpoint and stops. If the queue delivers
// a job again after its end, the worker only takes it off the queue. When a run
// stopped in the middle, the next run looks up in the store which items were
// written: the record carries the name of the write (resume.go).
//
// Items pass the same manager, scopes and limits as requests. A worker runs a
// few jobs at a time, and a few of their items. It takes a job only when it has
// room for it.
package jobs
