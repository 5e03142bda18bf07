// Package wire reads and writes msgpack, and converts JSON to it and back. It does not trust
// its input, and makes no copies of secrets.
//
// A [Decoder] allocates no more than the content of a body needs, checks every length against
// its limit first, and quotes no value in an error. An [Encoder] wipes every buffer that it
// outgrows. Neither makes a Go string of a value. The package does not know any message:
// package subjects does.
//
// It is built on the low-level calls of vmihailenco/msgpack, since the library's reflection
// and interfaces allocate what a hostile body asks for.
package wire
