// Package coherence keeps what the replicas hold in their caches from growing
// stale.
//
// All replicas append to one log, which gives their writes one total order, and
// apply it to their caches in that order. The position a replica has applied is
// its revision.
//
//	writer                     log                      every replica
//	  │ intent{write,key} ─────►│──────────────────────► drop key, hold it
//	  │ write the store         │
//	  │ done{write,key,…} ─────►│──────────────────────► drop key, release it
//	  │ reply with revision     │                        (done is also the
//	                                                      public change event)
//
// A held key is read from the store and not cached, so that no replica can
// keep what the store held just before a write. A hold ends with the done of
// its write or, should the writer die, after Config.Hold, which is longer than
// a write may take.
//
// A fill carries a token that was taken before the store was read, and is
// refused when anything touched the key in between.
//
// The store may be ahead of what a replica has applied. So that its reader is
// not answered older by the next replica, every record keeps the revision of
// its intent, which a reply made from it carries; a reply that finds something
// missing carries the end of the log. No cache takes a record whose intent is
// still to be applied.
//
// When the log shows a gap, or is another one than before, nothing in the cache
// can be trusted: the replica clears it.
//
// [Replica] is the protocol. It reaches the log through [Log], so that it runs
// over JetStream ([Stream]) as well as over a log in memory.
package coherence
