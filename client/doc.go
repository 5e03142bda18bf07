// Package client talks to credbus workers over NATS: it stores, patches, retrieves,
// lists, validates and deletes credentials, singly and in batches, and follows
// their changes.
//
//	c, err := client.Connect("nats://127.0.0.1:4222", nil)
//	_, err = c.Store(ctx, "org:acme/team:eng", "db-password", client.Value(password), nil)
//	cred, err := c.Retrieve(ctx, "org:acme/team:eng", "db-password", nil)
//
// Every command is one request that goes through the same few steps:
//
//	command ── check arguments ── encode ── send ── decode ── check the reply
//	              │                          │ ▲
//	              │ invalid_argument,        │ └── again, after a pause, where
//	              │ payload_too_large        │     that is safe (see Config.Retries)
//	              ▼                          ▼
//	           nothing is sent        <prefix>.<command>.<scope> ──► a worker
//
// The client repeats a read after every failure that may pass. It repeats a write
// only if nothing was written, which is so unless the worker says otherwise. If the
// outcome of a write is unknown, the error is an [OutcomeUnknownError], and
// repeating the call with its RequestID is safe.
//
// A client remembers the highest revision that any reply carried and sends it with
// each command, so that no worker answers it with anything older than what it has
// seen. [Client.Revision] and [Client.Observe] carry that over to another process.
// Events and the statuses of jobs do not raise it, because anybody who may publish on
// their subjects can forge them.
//
// Errors of workers are [*Error] and match the sentinels of this package with
// errors.Is. A command whose context ends matches context.DeadlineExceeded or
// context.Canceled. No error text holds a value.
//
// A request carries the time that its context has left. Workers count it from when
// they receive the request, so the clocks of clients and workers need not agree.
//
// # Stuck workers
//
// A worker that is paused or hangs still gets its share of the requests: NATS chooses a
// worker at random. A read whose reply is late is therefore hedged, which means that it
// is sent again, perhaps to another worker, and the first usable reply counts:
//
//	send ── usual time of replies ── send ── 1.25 times that ── send ── ...
//
// Config.Hedge is the least of these times, or turns hedging off. Hedges go on while they
// help. If workers are only slow, all replies come in the end, and the client limits
// hedges to a tenth of the reads and 100 more. Only commands that change nothing are
// hedged: Retrieve, Validate, their batches, List, Describe, Job, Jobs and the reports of
// replicas.
//
// # The inbox
//
// The client receives all replies on one subscription. Before the first request it asks
// the server whether it may subscribe. If NATS refuses, then or later, each request fails
// at once with [ErrPermissionDenied] and the subject to allow. A later request asks again,
// at most every 250 ms, so the client recovers on the same connection as soon as the
// permission is back.
//
// # Jobs
//
// Use a job for work that nobody has to wait for. Workers take it from a durable
// queue and carry out each item once, whatever crashes meanwhile:
//
//	b, err := c.StoreJob(ctx, "org:acme", items, nil) // any number; durable when it returns
//	status, err := b.Wait(ctx)                        // or Watch, or neither
//	for result, err := range b.Results(ctx) { ... }
//
//	items ── check all ── divide ── seal ──► queue ──► a worker ──► status
//	                      (100 a job)                               ──► Wait, Watch
//
// [Client.Submission] opens a submission that another process submitted, within a day of its
// last change. If the outcome of a submission is unknown, the error is a
// [SubmitError], and submitting the same again under its name is safe.
//
// # Secrets in memory
//
// The client wipes request bodies as soon as the command ends. The values of a
// [Credential] stay in the buffer of their reply until [Credential.Wipe]. A reply
// that comes after its command has ended is wiped at once. Beyond the reach of this
// package, nats.go keeps the bytes that it last sent and received in buffers of its
// own until later traffic overwrites them.
package client
