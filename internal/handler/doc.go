// Package handler is the NATS side of a worker: it subscribes, decides from the
// subject what a request may touch, decodes it, hands it to the manager, and
// answers. It knows no store.
//
//	subscription (one goroutine each)
//	  ├─ retrieve: decode ─► cache hit ─► publish the reply, here and now
//	  └─ all else, and misses ─► pool (bounded; full: resource_exhausted)
//	                               └─ dispatch
//	                                    ├─ accept    reply subject, deadline
//	                                    ├─ decode    msgpack, or JSON
//	                                    ├─ command   one method of Handler
//	                                    └─ respond   revision, code, format
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
