// Package store defines the interface of the places where credentials are kept.
//
// A driver implements [Store] in a package of its own below this one and runs
// the conformance suite of storetest. Its records arrive with sealed values. It
// knows nothing of NATS, caches or callers, and does not retry: the policy
// does.
//
//	manager ──► router ──► policy ──► Store ─┬─ file        one sealed file per credential
//	              │                          ├─ jetstream   one key of a JetStream bucket per credential
//	              └──────► policy ──► Store  ├─ vault       one secret of a KV engine per credential
//	                                         ├─ aws         one secret of Secrets Manager per credential
//	                                         ├─ kubernetes  one Secret of a namespace per credential
//	                                         └─ memory      for tests and demonstrations
//
// A driver that can report changes made by others than workers is also a
// [Watcher].
package store
