// Package kubernetes keeps every credential as a Secret of one namespace.
//
//	Secret credbus.org.acme.team.eng.api-key, of type Opaque
//	  labels       credbus.io/store: credbus, scope-1: org.acme, scope-2: team.eng
//	  annotations  credbus.io/scope, id, metadata, and write: the write id
//	  data         record: one encoded record; its values come sealed
//	               or, in native form, each value by its name
//
// A write goes to all of it at once, on condition that the Secret is still as
// it was. What is read for it is metadata alone, since that has all a write
// needs to know:
//
//	metadata ─► precondition ─► create, or update if still at this resource version ─┬─► done
//	    ▲                                                                            │
//	    └───────────────────── another write was faster (409) ◄──────────────────────┘
//
// The version of a record is the Secret's UID and resource version. Any write to
// the Secret changes it, also one that puts a label on it.
//
// Reads and the first page of a list are answered by a quorum of etcd. Lists and
// watches ask for metadata: only a Get moves values. Annotations are a copy of
// what a sealed record says of itself; where the API server notes that others
// wrote values or annotations since, the record is read and it alone counts. In
// native form such a record has neither write id nor revision: it is theirs.
//
//	list, watch ─► metadata ─┬─ ours alone ──────────────► annotations
//	                         ├─ others wrote, native ────► annotations, no write id
//	                         └─ others wrote, sealed ────► the record itself
//
// [Store.Watch] follows the labels of the store by requests of half a minute
// each, which end with a bookmark for the next. No copy of the Secrets is held.
//
// What is in memory: values that a Get returns are the caller's to wipe; the
// answer and the request that carried them are wiped here. Not in reach are what
// client-go leaves behind when its buffer for an answer grows, and the buffers of
// TLS and HTTP, some KiB for each connection. In sealed form all of that is
// ciphertext.
package kubernetes
