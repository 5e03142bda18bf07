// Package testbed runs real servers of other projects for tests, each a process
// of its own that can be paused, killed and started again.
//
//	make test-stores ─► builds integration/beds/* once ─► CREDBUS_TEST_BEDS=directory
//	test ─► Start ─► process ─► one line of JSON: its address and credentials
//
// A bed is a program with two flags: --data (the directory for all its data) and
// --port (0: any free one). It serves on 127.0.0.1. Once it does, it prints one line:
// a JSON object of strings, with at least "address" and "port". It ends when its
// standard input ends. If it is started again with the same directory and port, it
// continues with its data.
package testbed
