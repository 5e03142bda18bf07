// Package store defines what credbus asks of the place where credentials are
// kept.
//
// A driver implements [Store] in a package of its own below this one and runs
// the conformance suite of storetest. It sees records whose values are sealed
// already, knows nothing of NATS, caches or callers, and does no retries: those
// are the policy's.
//
//	manager ──► router ──► policy ──► Store ─┬─ file        one sealed file per credential
//	              │                          ├─ jetstream   one key of a JetStream bucket per credential
//	              └──────► policy ──► Store  ├─ vault       one secret of a KV engine per credential
//	                                         ├─ aws         one secret of Secrets Manager per credential
//	                                         ├─ kubernetes  one Secret of a namespace per credential
//	                                         └─ memory      for tests and demonstrations
//
// Those that can tell of changes made behind the workers' backs are a
// [Watcher] as well.
package store
