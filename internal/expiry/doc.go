// Package expiry tells, in the stream of change events, which credentials are
// going to expire and which have.
//
// Every worker runs a [Watch]. Together they sweep all stores once in an
// interval: who claims a sweep pages the metadata, never values, and of each
// credential that is within the largest time ahead looks up the mark, which
// says what was told of it.
//
//	mark              events of the credential    what a worker does
//	none, or of
//	another version   …, last at S                write the mark: telling E after S
//	telling E after S …, last at S                publish E, if the last is still at S
//	telling E after S …, S, E                     write the mark: told E
//	told E                                        nothing, until a nearer time or
//	                                              another version
//
// Each write of a mark is on condition of the mark that was read, and an event of
// what stood last before it. So a worker may die or be paused after any step,
// and others may sweep at the same time: the next one finds E behind S and writes
// that it is told, or publishes E, as it was begun, in its place. Who comes late
// finds that S is not the last any more.
//
// Marks stay for [markTTL] after the last sweep that looked at them.
package expiry
