// Package coherence keeps the caches of the replicas from serving stale records.
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
// Without a valid lease, a read goes to the store, shares no other read and fills
// nothing. So does a read of a key that is held, and a read that names a revision
// which the replica has not applied. A fill carries a token that was taken before
// the store was read. The replica refuses the fill if anything touched the key in
// between. A cached answer was current at most a Lease before it leaves. In strict
// mode a write waits for every replica that might answer with the old state, but no
// longer than that replica's Lease, which its pings announce.
//
// The store may be ahead of what a replica has applied. The next replica must not
// give the same reader an older answer. So every record keeps the revision of its
// intent, and a reply made from the record carries it. A reply that finds something
// missing carries the end of the log. No cache takes a record whose intent its
// replica has not applied.
//
// A cache cannot be trusted when the log has a gap, was replaced by another log, or
// has lost its end. The replica then clears it, and holds every key for as long as
// a write that it has not heard of may take.
//
// [Replica] is the protocol. It reaches the log through [Log], so it runs over
// JetStream ([Stream]) and also in the simulation. The simulation leaves out each
// [Protection] in turn, to show that it is needed.
package coherence
