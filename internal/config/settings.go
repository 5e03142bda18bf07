package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"credbus/internal/natsconn"
	"credbus/subjects"
)

const (
	dataDir    = "data_dir"
	configFlag = "config"
	prefix     = "CREDBUS_"
)

// setting is one entry of the table. Flag, variable and YAML key follow from
// key: nats.url is --nats.url, CREDBUS_NATS_URL and "nats: {url: ...}".
type setting struct {
	key      string
	kind     kind
	fallback string // the default, as a person would write it
	help     string
	under    string // the default is this name under data_dir
	nats     string // variable of the nats command that sets it too
	secret   bool
}

const day = 24 * time.Hour

// settings is every setting there is, in the order in which it is shown.
var settings = []setting{
	{key: dataDir, kind: path(), help: "directory of everything the worker keeps"},

	{key: "log.level", kind: level(), fallback: "info", help: "least severe level that is logged: debug, info, warn or error"},
	{key: "log.format", kind: oneOf("text", "json"), fallback: "text", help: "text or json"},

	{key: "nats.url", kind: address(), nats: "NATS_URL", help: "NATS server to join, several separated by commas; without it and a context, the worker runs its own"},
	{key: "nats.context", kind: text(), nats: "NATS_CONTEXT", help: "nats context to join with: a name, or a file that ends in .json"},
	{key: "nats.creds", kind: path(), nats: "NATS_CREDS", help: "credentials file"},
	{key: "nats.user", kind: text(), nats: "NATS_USER", help: "user, or token when there is no password"},
	{key: "nats.password", kind: text(), nats: "NATS_PASSWORD", secret: true, help: "password; better given by the environment, since others can see flags"},
	{key: "nats.token", kind: text(), nats: "NATS_TOKEN", secret: true, help: "token; better given by the environment, since others can see flags"},
	{key: "nats.nkey", kind: path(), nats: "NATS_NKEY", help: "file with the seed of an nkey"},
	{key: "nats.tls.ca", kind: path(), nats: "NATS_CA", help: "PEM file of the authorities to trust instead of the system's"},
	{key: "nats.tls.cert", kind: path(), nats: "NATS_CERT", help: "PEM file of the client certificate"},
	{key: "nats.tls.key", kind: path(), nats: "NATS_KEY", help: "PEM file of the client certificate's key"},
	{key: "nats.host", kind: text(), fallback: "127.0.0.1", help: "address that the embedded server listens on"},
	{key: "nats.port", kind: count(1, 65535), fallback: "4222", help: "port that the embedded server listens on"},
	{key: "nats.prefix", kind: subjectPrefix(), fallback: string(subjects.DefaultPrefix), help: "beginning of every subject"},
	{key: "nats.inbox_prefixes", kind: subjectList(), fallback: "_INBOX", help: "where replies may be sent, separated by commas"},
	{key: "nats.queue", kind: name(), fallback: "credbus", help: "queue group that the replicas of one deployment share"},

	{key: "store.type", kind: oneOf("file", "jetstream", "memory"), fallback: "file", help: "where credentials are kept: file, jetstream or memory"},
	{key: "store.dir", kind: path(), under: "credentials", help: "directory of the file store"},
	{key: "store.bucket", kind: name(), fallback: "CREDBUS_CREDENTIALS", help: "key-value bucket of the jetstream store; workers that share it need the same keyring.file, which is yours to copy"},
	{key: "store.replicas", kind: oneOfCounts(1, 3, 5), fallback: "1", help: "copies of the bucket in a cluster: 1, 3 or 5"},
	{key: "store.read_timeout", kind: duration(time.Millisecond, time.Hour), fallback: "5s", help: "limit of one read, retries included"},
	{key: "store.write_timeout", kind: duration(time.Millisecond, time.Hour), fallback: "10s", help: "limit of one write, retries included"},
	{key: "store.retries", kind: count(0, 100), fallback: "5", help: "how often a passing fault is tried again"},
	{key: "store.retry_backoff", kind: duration(time.Millisecond, time.Hour), fallback: "100ms", help: "pause before the first retry; doubles with each"},
	{key: "store.breaker_failures", kind: count(0, 1_000_000), fallback: "10", help: "passing faults in a row after which the store is left alone and calls are refused at once; 0 for never"},
	{key: "store.breaker_delay", kind: duration(time.Millisecond, time.Hour), fallback: "5s", help: "how long it is left alone before one call is let through to probe"},

	{key: "keyring.file", kind: path(), under: "keyring.json", help: "file with the keys that seal what is stored; every worker on one store needs the same"},

	{key: "cache.enabled", kind: boolean(), fallback: "true", help: "answer from memory where that is safe"},
	{key: "cache.ttl", kind: duration(time.Millisecond, 365*day), fallback: "5m", help: "how long an entry is used"},
	{key: "cache.negative_ttl", kind: duration(0, day), fallback: "10s", help: "how long it is remembered that a credential does not exist; 0s for not at all"},
	{key: "cache.idle", kind: duration(0, 365*day), fallback: "0s", help: "drop an entry not asked for this long; 0s for never"},
	{key: "cache.entries", kind: count(1, 100_000), fallback: "1000", help: "most entries"},
	{key: "cache.bytes", kind: size(1<<20, 1<<40), fallback: "64MiB", help: "most memory of the entries"},

	{key: "batch.items", kind: count(1, 100), fallback: "100", help: "most items of a batch"},
	{key: "batch.concurrency", kind: count(1, 100), fallback: "10", help: "items of a batch under way at once"},

	{key: "pool.workers", kind: count(1, 65_536), fallback: "256", help: "commands under way at once"},
	{key: "pool.queue", kind: count(1, 1<<20), fallback: "16384", help: "commands that may wait"},
	{key: "pool.bytes", kind: size(1<<20, 1<<40), fallback: "64MiB", help: "most memory of commands that wait"},

	{key: "stream.name", kind: name(), fallback: "CREDBUS", help: "JetStream stream through which replicas agree"},
	{key: "stream.replicas", kind: oneOfCounts(1, 3, 5), fallback: "1", help: "copies of the stream in a cluster: 1, 3 or 5"},
	{key: "stream.max_age", kind: duration(time.Minute, 365*day), fallback: "24h", help: "how long change events are kept"},
	{key: "stream.max_bytes", kind: size(1<<20, 100<<40), fallback: "256MiB", help: "most disk space of the stream"},

	{key: "coherence.mode", kind: oneOf("bounded", "strict", "off"), fallback: "bounded", help: "bounded: a replica that is cut off may be 2 s behind; strict: none ever is, and writes wait for all; off: entries are trusted for all their TTL, for measuring only"},

	{key: "shutdown.timeout", kind: duration(0, time.Hour), fallback: "10s", help: "how long work under way may take to end"},
}

// settingOf is the entry of a key, nil when there is none.
func settingOf(key string) *setting {
	for i := range settings {
		if settings[i].key == key {
			return &settings[i]
		}
	}
	return nil
}

// flagName spells a key as flags are spelled: data_dir is --data-dir.
func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

// keyOfFlag is the other way round; no key has a dash.
func keyOfFlag(name string) string { return strings.ReplaceAll(name, "-", "_") }

func (s *setting) flag() string { return "--" + flagName(s.key) }

func (s *setting) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// parse applies the rule of the setting to a value from any source.
func (s *setting) parse(raw any) (any, error) {
	if (s.secret || s.kind.name == addressName) && strings.Contains(fmt.Sprint(raw), redacted) {
		return nil, fmt.Errorf("this is what a secret is shown as: put the real one in its place")
	}
	return s.kind.parse(raw)
}

// redacted stands for a secret.
const redacted = "[redacted]"

// quote is a value as an error may show it.
func (s *setting) quote(raw any) string {
	switch text, isText := raw.(string); {
	case s.secret:
		return redacted
	case isText && s.kind.name == addressName:
		return natsconn.RedactURL(text)
	case isText:
		return fmt.Sprintf("%q", text)
	default:
		return fmt.Sprint(raw)
	}
}

// Flags registers a flag for every setting, and --config.
func Flags(flags *pflag.FlagSet) {
	// Who copies a key from a file finds the flag as well.
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(flagName(name))
	})
	flags.String(configFlag, "", "YAML file of settings (default worker.yaml in the user's configuration directory, if there is one)")
	for i := range settings {
		s := &settings[i]
		help := s.help
		if s.under != "" {
			help += " (default " + s.under + " under --data-dir)"
		}
		flag := flags.VarPF(&flagValue{text: s.fallback, kind: s.kind.name}, flagName(s.key), "", help)
		if s.kind.name == booleanName {
			flag.NoOptDefVal = "true" // --cache.enabled without a value
		}
	}
}

// flagValue keeps a flag's text as it is: Load applies the rules, to report
// all problems in one way and at once.
type flagValue struct{ text, kind string }

func (v *flagValue) String() string        { return v.text }
func (v *flagValue) Set(text string) error { v.text = text; return nil }
func (v *flagValue) Type() string          { return v.kind }
