// Package config holds the worker's settings: what they are called, what they
// may be, and where each value came from.
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
//	      └─ reports all problems at once, each by the name the person wrote
//
// An unknown key or CREDBUS_ variable is an error, since a misspelt setting
// that is silently ignored is found out only when it is needed. Empty
// variables count as not set, as in the nats command and in compose files.
//
// Values that are secret appear in no error and not in WriteYAML.
package config
