// Package handler is the NATS side of a worker. It receives requests, derives from
// the subject what a request may touch, decodes it, hands it to the manager, and
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
// New makes the table of commands once: see commands in command.go. A new command is a
// line there. It also needs a function of a few lines, unless the manager has a method
// with that signature.
//
// NATS does not check that a publisher may publish to the reply subject that it
// names. So a request could make the worker publish to any subject that the worker may
// use. The worker drops and counts requests whose reply subject is not under a
// configured inbox prefix.
//
// Commands that concern every replica (clear_cache, cache_stats) arrive at one of them
// through the queue group. That one asks all replicas, also itself, and answers for
// them.
package handler
