// Package wire reads and writes msgpack, and turns JSON into it and back, without trust in
// what comes from outside and without copies of secrets.
//
// A [Decoder] allocates no more than what a body holds calls for, holds every length against
// its limit first, and quotes no value in an error. An [Encoder] wipes every buffer that it
// outgrows. Neither makes a Go string of a value. The package knows no message: package
// subjects has those.
//
// It is built on the low-level calls of vmihailenco/msgpack, whose reflection and interfaces
// allocate what a hostile body asks for.
package wire
