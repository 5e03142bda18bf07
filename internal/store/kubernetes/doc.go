// Package kubernetes keeps every credential as a Secret of one namespace.
//
//	Secret credbus.org.acme.team.eng.api-key, of type Opaque
//	  labels       credbus.io/store: credbus, scope-1: org.acme, scope-2: team.eng
//	  annotations  credbus.io/scope, id, metadata, and write: the write id
//	  data         record: one encoded record; its values come sealed
//	               or, in native form, each value by its name
//
// A write replaces the whole Secret, on condition that it has not changed. It
// reads only metadata before, which has all that a write must know:
//
//	metadata ─► precondition ─► create, or update if still at this resource version ─┬─► done
//	    ▲                                                                            │
//	    └───────────────────── another write was faster (409) ◄──────────────────────┘
//
// The version of a record is the Secret's UID and resource version. Any write
// to the Secret changes it, even a new label.
//
// A quorum of etcd answers reads and the first page of a list. Lists and
// watches request metadata: only a Get transfers values. Annotations copy the
// metadata of a sealed record. If the API server notes that others wrote values
// or annotations since, the store reads the record, and only that counts. In
// native form such a record has neither write id nor revision, since others
// wrote it.
//
//	list, watch ─► metadata ─┬─ ours alone ──────────────► annotations
//	                         ├─ others wrote, native ────► annotations, no write id
//	                         └─ others wrote, sealed ────► the record itself
//
// [Store.Watch] follows the Secrets with the store's labels by requests of half
// a minute each, which end with a bookmark for the next. It holds no copy of
// the Secrets.
//
// Values in memory: the caller must wipe the values of a Get; this package
// wipes the answers and requests that carried them. It cannot wipe the old
// buffers of client-go when its buffer for an answer grows, nor those of TLS
// and HTTP, some KiB for each connection. In sealed form all of these hold
// ciphertext.
package kubernetes
