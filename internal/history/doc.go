// Package history records what clients did and saw, and judges it.
//
//	Op ──► History.Add                    Commits of a simulation's store, or
//	          │                           CommitsOf what single writers did
//	          ▼                                     │
//	       Ops() ──┬──► Linearizable                │  one order of states per key
//	               ├──► Staleness  ◄────────────────┤  how old was what a read saw
//	               ├──► Sessions   ◄────────────────┤  did a session go back in time
//	               └──► Lost       ◄────────────────┘  is what was acknowledged there
//
//	       all of it ──► Report, one line
//
// Work that was handed over to be done some time, once, is judged by Once, from
// the log that a store keeps of its writes and from what its callers were told; and
// what was to be told once, by ToldOnce.
//
// The promises are those of credbus. In strict mode all reads are linearizable
// with the writes. In bounded mode those are that read the store itself, and
// any other is behind by less than a bound. In both, a session that sends the
// highest revision it has seen reads its own writes and never goes back.
//
// The judge is told nothing of how the replicas work: it sees requests and
// answers, as a client does. A doubt is decided for the accused: where a value
// was in the store more than once, the time that explains a read counts, and a
// write whose outcome is unknown may have come at any time after it began, or
// never. So what it does report has no explanation.
package history
