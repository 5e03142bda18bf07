package coherence

// Protection names one part of the protocol that the simulation can leave out, to
// show that it is needed. A build with the tag simulation has a switch for each. In
// every other build off is the constant false, and the compiler removes what it
// guards.
type Protection string

// The protections.
const (
	LeaseExpiry     Protection = "lease expiry"     // a lease ends
	LeaseStart      Protection = "lease start"      // a lease counts from when its ping was sent
	LeaseRecheck    Protection = "lease recheck"    // the lease is checked again once the entry is open
	StartEcho       Protection = "start echo"       // no trust before the first echo
	IntentDrop      Protection = "intent drop"      // an intent drops the key
	IntentHold      Protection = "intent hold"      // an intent holds the key
	WritersHold     Protection = "writers hold"     // a hold lasts as long as its writer says
	SendersLease    Protection = "senders lease"    // a strict write waits for a lease as long as its replica says
	OwnClock        Protection = "own clock"        // a ping counts from when it is heard, not from when its sender says
	OwnRelease      Protection = "own release"      // a done releases the hold of its own write
	UnknownHold     Protection = "unknown hold"     // a write that may still land holds the key
	WriteDeadline   Protection = "write deadline"   // no write outlasts its hold
	FillToken       Protection = "fill token"       // no fill after an invalidation
	TokenLease      Protection = "token lease"      // without a lease a read joins no flight
	FlightToken     Protection = "flight token"     // flights are keyed by token
	FlushEpoch      Protection = "flush epoch"      // a flush makes the tokens of its scope void
	GapCheck        Protection = "gap check"        // a gap clears the cache
	GapHold         Protection = "gap hold"         // a gap holds every key
	YoungHold       Protection = "young hold"       // a log that replaced another holds every key at first
	IdentityCheck   Protection = "identity check"   // another stream clears the cache
	RegressCheck    Protection = "regress check"    // a stream that has lost its end clears it too
	RevisionCheck   Protection = "revision check"   // a read names what its client has seen
	ReadAhead       Protection = "read ahead"       // a record ahead of the log says so, and is not cached
	AbsenceRevision Protection = "absence revision" // an absence carries the log's end
	NewestAnswer    Protection = "newest answer"    // an answer of a store that lags does not count if a newer write is known
	HoldsSettle     Protection = "holds settle"     // nor while a write to the key is under way
	AnswerAge       Protection = "answer age"       // an answer is as old as the question
	GapMemory       Protection = "gap memory"       // no answer counts after a gap, while missed writes may be unknown
	StrictWait      Protection = "strict wait"      // a strict write waits for the replicas
	UnknownMembers  Protection = "unknown members"  // also for those that it may not have heard of
)
