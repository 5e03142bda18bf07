// Package health reports over HTTP whether a worker can work, for the orchestrator
// that restarts it or sends it work.
//
//	GET /livez   200 while the process serves
//	GET /readyz  200 while nothing keeps the worker from its work, else 503
//
// The body is JSON: whether the worker is ready and, for each problem, which part has
// it, what it is, and since when. It holds names, states and codes, and no secret.
//
//	{"ready":false,"problems":[{"part":"store","name":"vault-eu","state":"failing",
//	  "since":"2026-01-02T03:04:05Z","error":"storage_timeout","refuses":"all"}]}
//
// If the worker can still do most of its work, the problem is in "warnings", and the
// worker stays ready.
//
// Use it in the local network of an orchestrator: it is neither encrypted nor
// authenticated. Its connections, bytes and time are bounded.
package health
