// Package jobs carries out batch jobs: commands for up to a hundred credentials
// that somebody published to a durable queue and does not wait for.
//
//	client ─► queue (JetStream work queue, one durable consumer)
//	            └─► any worker ─► begin ─► items ─► manager ─► store
//	                                │        └─ checkpoint every second
//	                                └─► ledger (status of each job) ─► subscribers
//	                                └─► dead letters
//
// The queue delivers at least once; the ledger makes once of it. It has one entry
// for each job, and every change of it is a compare-and-set:
//
//	accepted ─► running ─► done | failed | cancelled
//	               └─ to be tried again ─┘
//
// Whoever would run a job enters itself first, so that one that was overtaken
// finds out at its next checkpoint and lets go. A job that has ended is only taken
// off the queue when it is delivered again. An item that may have been carried out
// by a run which broke off is looked up in the store before it is tried again: the
// record carries the name of the write (resume.go).
//
// Items go through the same manager, scopes and limits as requests, some jobs and
// some of their items at a time; no job is taken that there is no room for.
package jobs
