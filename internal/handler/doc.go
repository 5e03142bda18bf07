// Package handler is the NATS side of a worker: it subscribes, decides from the
// subject what a request may touch, decodes it, hands it to the manager, and
// answers. It knows no store.
//
//	subscription (one goroutine each)
//	  ├─ retrieve: decode ─► cache hit ─► publish the reply, here and now
//	  └─ all else, and misses ─► serve (reply subject, scope of the subject)
//	       └─ pool (bounded; full: resource_exhausted), or beside it to wait for replicas
//	            └─ dispatch
//	                 ├─ decode    msgpack, or JSON
//	                 ├─ begin     deadline
//	                 ├─ place     into the scope of the subject
//	                 ├─ run       the command: request in, reply or error out
//	                 └─ respond   revision, code, format, counters
//
// The table of commands is made once, by New: commands in command.go. A new command is a
// line there and, unless the manager has just that method, a function of a few lines.
//
// NATS does not check that a publisher may publish to the reply subject that it
// names, so a request could make the worker publish anywhere it may itself.
// Requests whose reply subject is not under a configured inbox prefix are
// dropped and counted.
//
// Commands that concern every replica (clear_cache, cache_stats) arrive at one
// of them by the queue group, which then asks all, itself included, and answers
// for them.
package handler
