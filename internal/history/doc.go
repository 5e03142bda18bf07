// Package history records the operations of clients and their results, and checks
// them against the guarantees of credbus.
//
//	Op ──► History.Add                    Commits of a simulation's store, or
//	          │                           CommitsOf the Ops of single writers
//	          ▼                                     │
//	       Ops() ──┬──► Linearizable                │  one order of states per key
//	               ├──► Staleness  ◄────────────────┤  how old was the state of a read
//	               ├──► Sessions   ◄────────────────┤  did a session go back in time
//	               └──► Lost       ◄────────────────┘  are acknowledged writes there
//
//	       all of it ──► Report, one line
//
// Once checks work that must be done once, at some later time, from a store's log of
// its writes and the results that its callers got. CheckSentOnce checks events that must
// be sent once.
//
// The guarantees: in strict mode, all reads are linearizable with the writes. In
// bounded mode, reads of the store itself are, and any other read is behind by less
// than a bound. In both, a session that sends the highest revision it has seen reads
// its own writes and never goes back.
//
// The checks know nothing about how replicas work: they see requests and answers, as
// a client does. If in doubt, they find no fault: if a value was in the store more
// than once, the time that explains a read counts, and a write with an unknown
// outcome may have taken effect at any time after it began, or never. So there is no
// other explanation for a fault that they report.
package history
