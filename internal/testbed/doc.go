// Package testbed runs real servers of other projects for tests, each a process
// of its own that can be paused, killed and started again.
//
//	make test-stores ─► builds integration/beds/* once ─► CREDBUS_TEST_BEDS=directory
//	test ─► Start ─► process ─► one line of JSON: where it serves, and as whom
//
// A bed is a program that takes --data (a directory that it keeps everything in)
// and --port (0: any free one), serves on 127.0.0.1, prints one JSON object of
// strings in one line once it does, and ends when its standard input does. The
// object has at least "address" and "port". Started again with the same
// directory and port it goes on where it was.
package testbed
