// Package audit keeps a record of every command that a worker carried out: who, what,
// scope, ID, version, outcome, revision, when, and which worker. No record holds a value.
//
//	handler, jobs ─ Put, Take ─► queue ─► writer ─► chain ─► Sink (File, stream.Sink)
//	                             (bounded)  one goroutine for each sink
//
// Records are lines of JSON. A writer takes all that wait, numbers them, and seals them
// as one block with a line of its own:
//
//	{"seq":41,"time":"…","worker":"…","command":"retrieve","scope":"…","id":"…",…}
//	{"seq":42,…}
//	{"seal":42,"records":2,"chain":"…","prev":"…","hash":"…"}
//
// hash is the SHA-256 of prev, of the lines of the block, and of the seal up to prev. prev
// is the hash of the block before. So one hash is made for each write, not for each record,
// and [Verify] still finds each record that was removed, changed or moved. Each sink has a
// chain of its own. The chain of a file continues when the worker restarts, and over
// rotated files.
//
// The chain has no key. Somebody who may write to the file can make a new chain from any
// block on, and can cut the newest blocks off. So the log of the worker says the newest hash
// each hour, and when it opens, rotates and closes the file, and [Verify] can ask for such a hash.
//
// Without Config.Required, a record waits for nobody: if the queue is full, records are
// lost, counted, and reported in the log of the worker and in the audit log itself. With
// Required, Put returns once each sink has the record, or with an error after at most
// [Patience].
package audit
