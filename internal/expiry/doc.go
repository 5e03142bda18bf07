// Package expiry announces, in the stream of change events, which credentials are
// going to expire and which have expired.
//
// Every worker runs a [Watch]. Together they sweep all stores once in an interval.
// The worker that claims a sweep pages through the metadata, never through values. For
// each credential within the largest time ahead it looks up the mark, which says what
// was announced ("told") about the credential.
//
//	mark              events of the credential    what a worker does
//	none, or of
//	another version   …, last at S                write the mark: telling E after S
//	telling E after S …, last at S                publish E, if the last is still at S
//	telling E after S …, S, E                     write the mark: told E
//	told E                                        nothing, until a nearer time or
//	                                              another version
//
// A worker writes a mark only if the mark that it read is still there. It publishes an
// event only if the last event before it is still the last. So a worker may die or be
// paused after any step, and others may sweep at the same time. The next worker finds E
// after S and writes that it is told, or publishes E, as it was begun, itself. A worker
// that comes late finds that S is no longer the last event.
//
// A mark stays for [markTTL] after it was last written.
package expiry
