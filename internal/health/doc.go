// Package health tells over HTTP how a worker is, for whoever starts it again
// or sends it work.
//
//	GET /livez   200 while the process serves
//	GET /readyz  200 while nothing keeps the worker from its work, else 503
//
// The body is JSON: whether it is ready, and what is wrong with which part and
// since when. It holds names, states and codes, and no secret.
//
//	{"ready":false,"problems":[{"part":"store","name":"vault-eu","state":"failing",
//	  "since":"2026-01-02T03:04:05Z","error":"storage_timeout","refuses":"all"}]}
//
// A problem that leaves the worker most of its work is in "warnings", and it stays ready.
//
// It is for the local network of an orchestrator: neither encrypted nor
// authenticated, bounded in connections, bytes and time.
package health
