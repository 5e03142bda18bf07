// Package config holds the worker's settings: their names, their rules, and where
// each value came from.
//
//	--nats.url                   flag          strongest
//	CREDBUS_NATS_URL             environment
//	NATS_URL                     environment, as the nats command reads it
//	nats: {url: ...}             YAML file, --config or the user's worker.yaml
//	nats://...                   default       weakest
//
// One table (settings.go) names every setting, and the flag, the variables
// and the YAML key all follow from its entry, so that they cannot disagree:
//
//	Flags ── registers the flags of the table
//	Load ─┬─ reads the four sources, weakest first, keeping each value's origin
//	      ├─ parses every value by the rule of its setting
//	      ├─ Check: settings that contradict each other
//	      └─ reports all problems at once, each by the name that the user wrote
//
// An unknown key or CREDBUS_ variable is an error: otherwise nobody would notice
// a misspelt setting until it is needed. Empty variables count as not set, as in
// the nats command and in compose files.
//
// Secret values appear neither in errors nor in WriteYAML.
package config
