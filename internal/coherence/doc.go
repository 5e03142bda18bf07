// Package coherence keeps what the replicas hold in their caches from growing
// stale.
//
// All replicas append to one log, which gives their writes one total order, and
// apply it to their caches in that order. The position a replica has applied is
// its revision.
//
//	writer                     log                      every replica
//	  │ intent{write,key} ─────►│──────────────────────► drop key, hold it
//	  │◄────────────────────────│
//	  │ strict mode: wait for   │    acknowledgement
//	  │◄──────────────────────────────────────────────── each that has a lease
//	  │ write the store         │
//	  │ done{write,key,…} ─────►│──────────────────────► drop key, release it
//	  │ reply with revision     │                        (done is also the
//	                                                      public change event)
//
//	reader's replica           log
//	  │ ping{nonce}, at t0 ────►│      every quarter of a Lease, while it is asked
//	  │◄────────────────────────│      its own, in order: all that was in the log
//	  │ lease until t0 + Lease         at t0 has been applied
//
// Without a valid lease a read goes to the store, joins no other read and fills
// nothing; so it does for a key that is held, and for a read that names a
// revision which the replica has not applied. A fill carries a token that was
// taken before the store was read, and is refused when anything touched the key
// in between. What a cache hands out was current at most a Lease before it
// leaves. In strict mode a write waits for every replica that might hand out
// what was before it, but no longer than that replica's Lease, which its pings tell.
//
// The store may be ahead of what a replica has applied. So that its reader is
// not answered older by the next replica, every record keeps the revision of
// its intent, which a reply made from it carries; a reply that finds something
// missing carries the end of the log. No cache takes a record whose intent is
// still to be applied.
//
// When the log shows a gap, is another one than before or has lost its end,
// nothing in the cache can be trusted: the replica clears it, and holds every
// key for as long as a write that it has not heard of may take.
//
// [Replica] is the protocol. It reaches the log through [Log], so that it runs
// over JetStream ([Stream]) as well as in the simulation, where each
// [Protection] is left out in turn to show that it is needed.
package coherence
