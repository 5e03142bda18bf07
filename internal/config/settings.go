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
	fallback string // the default, as a user would write it
	help     string
	under    string // the default is this name under data_dir
	byPrefix bool   // the default contains nats.prefix, unless that has its own default
	inherits string // the default is the value of this key, which stands before it in the table
	borrowed string // variable of another program, such as NATS_URL, that sets it too
	secret   bool
}

// table holds settings in the order in which they are shown.
type table []setting

const day = 24 * time.Hour

// settings is every setting, except those of named stores, which tableOf adds.
var settings = table{
	{key: dataDir, kind: path(), help: "directory of everything the worker keeps"},

	{key: "log.level", kind: level(), fallback: "info", help: "least severe level that is logged: debug, info, warn or error"},
	{key: "log.format", kind: oneOf("text", "json"), fallback: "text", help: "text or json"},

	{key: "nats.url", kind: address(), borrowed: "NATS_URL", help: "NATS server to join, several separated by commas; without it and a context, the worker runs its own"},
	{key: "nats.context", kind: text(), borrowed: "NATS_CONTEXT", help: "nats context to join with: a name, or a file that ends in .json"},
	{key: "nats.creds", kind: path(), borrowed: "NATS_CREDS", help: "credentials file"},
	{key: "nats.user", kind: text(), borrowed: "NATS_USER", help: "user, or token if there is no password"},
	{key: "nats.password", kind: text(), borrowed: "NATS_PASSWORD", secret: true, help: "password; better given by the environment, since others can see flags"},
	{key: "nats.token", kind: text(), borrowed: "NATS_TOKEN", secret: true, help: "token; better given by the environment, since others can see flags"},
	{key: "nats.nkey", kind: path(), borrowed: "NATS_NKEY", help: "file with the seed of an nkey"},
	{key: "nats.tls.ca", kind: path(), borrowed: "NATS_CA", help: "PEM file of the certificate authorities to trust instead of the system's"},
	{key: "nats.tls.cert", kind: path(), borrowed: "NATS_CERT", help: "PEM file of the client certificate"},
	{key: "nats.tls.key", kind: path(), borrowed: "NATS_KEY", help: "PEM file of the client certificate's key"},
	{key: "nats.host", kind: text(), fallback: "127.0.0.1", help: "address that the embedded server listens on"},
	{key: "nats.port", kind: count(1, 65535), fallback: "4222", help: "port that the embedded server listens on"},
	{key: "nats.prefix", kind: subjectPrefix(), fallback: string(subjects.DefaultPrefix), help: "beginning of every subject; if it is not the default, the defaults of stream.name, jobs.stream and store.bucket contain it"},
	{key: "nats.inbox_prefixes", kind: subjectList(), fallback: "_INBOX", help: "beginnings of the subjects to which replies may be sent, separated by commas"},
	{key: "nats.queue", kind: name(), fallback: "credbus", help: "queue group that the replicas of one deployment share"},

	{key: "wire.strict", kind: boolean(), fallback: "false", help: "refuse requests and jobs with fields that this worker does not know; otherwise they are ignored, so that newer clients are served"},
	{key: "wire.clear", kind: oneOf("allow", "warn", "refuse"), fallback: "warn", help: "what to do with requests in clear, whose values the operators of the NATS servers can read: allow, warn (in the log) or refuse"},

	{key: "security.require_tls", kind: boolean(), fallback: "false", help: "refuse to start, instead of warning, if secrets would cross the network without TLS or NATS lets anybody in: the embedded server on other addresses than 127.0.0.1, NATS or a store at http:// on another machine without TLS, a NATS server without users"},

	{key: "store.type", kind: oneOf("file", "jetstream", "memory", "vault", "aws", "kubernetes"), fallback: "file", help: "where credentials are kept: file, jetstream, memory, vault, aws or kubernetes"},
	{key: "store.form", kind: oneOf("sealed", "native"), fallback: "sealed", help: "sealed: only the workers can read stored values; native: values are in the form of vault, aws or kubernetes, for other programs too"},
	{key: "store.routes", kind: routeList(), help: "scopes that other stores keep, such as org:acme=vault-eu, separated by commas; the longest that matches counts. The stores are defined in the YAML file (stores); the one of these settings is named default"},
	{key: "store.dir", kind: path(), under: "credentials", help: "directory of the file store"},
	{key: "store.bucket", kind: name(), fallback: "CREDBUS_CREDENTIALS", byPrefix: true, help: "key-value bucket of the jetstream store; workers that share it need the same keyring.file, which you must copy"},
	{key: "store.max_bytes", kind: size(0, 100<<40), fallback: "0", help: "maximum disk space of the bucket, which its account reserves; 0 for no bound of its own. An account that requires max_bytes needs one"},
	{key: "store.replicas", kind: oneOfCounts(1, 3, 5), fallback: "1", help: "copies of the bucket in a cluster: 1, 3 or 5"},

	{key: "store.vault.address", kind: webAddress(), borrowed: "VAULT_ADDR", help: "address of Vault or OpenBao, such as https://vault:8200"},
	{key: "store.vault.namespace", kind: text(), borrowed: "VAULT_NAMESPACE", help: "Vault namespace"},
	{key: "store.vault.mount", kind: text(), fallback: "secret", help: "where the KV v2 engine is mounted"},
	{key: "store.vault.path", kind: text(), fallback: "credbus", help: "path in the engine below which everything is kept"},
	{key: "store.vault.auth", kind: oneOf("token", "approle", "kubernetes"), fallback: "token", help: "how to log in: token, approle or kubernetes"},
	{key: "store.vault.auth_mount", kind: text(), help: "where that method is mounted (default its name)"},
	{key: "store.vault.token", kind: text(), borrowed: "VAULT_TOKEN", secret: true, help: "token; better given by the environment or a file, since others can see flags"},
	{key: "store.vault.token_file", kind: path(), help: "file with the token"},
	{key: "store.vault.role_id", kind: text(), help: "role id of approle"},
	{key: "store.vault.secret_id", kind: text(), secret: true, help: "secret id of approle; better given by the environment or a file, since others can see flags"},
	{key: "store.vault.secret_id_file", kind: path(), help: "file with the secret id of approle"},
	{key: "store.vault.role", kind: text(), help: "role of the kubernetes login"},
	{key: "store.vault.jwt_file", kind: path(), help: "file with the service account token of the kubernetes login (default the pod's)"},
	{key: "store.vault.ca", kind: path(), borrowed: "VAULT_CACERT", help: "PEM file of the certificate authorities to trust instead of the system's"},

	{key: "store.aws.region", kind: text(), help: "AWS region (default that of the AWS configuration)"},
	{key: "store.aws.profile", kind: text(), help: "profile of the AWS configuration files"},
	{key: "store.aws.endpoint", kind: webAddress(), help: "address of Secrets Manager, for private endpoints and tests"},
	{key: "store.aws.role", kind: text(), help: "ARN of a role to assume"},
	{key: "store.aws.external_id", kind: text(), help: "external id to assume it with"},
	{key: "store.aws.sts_endpoint", kind: webAddress(), help: "address of STS, which gives the role's credentials"},
	{key: "store.aws.prefix", kind: text(), fallback: "credbus", help: "beginning of the names of all secrets"},
	{key: "store.aws.recovery_days", kind: count(7, 30), fallback: "30", help: "days for which a deleted credential can be restored"},
	{key: "store.aws.force_delete", kind: boolean(), fallback: "false", help: "delete at once, beyond recovery"},
	{key: "store.aws.kms_key", kind: text(), help: "KMS key of new secrets (default the account's for Secrets Manager)"},

	{key: "store.kubernetes.namespace", kind: text(), help: "namespace of the Secrets (default that of the pod or the kubeconfig)"},
	{key: "store.kubernetes.kubeconfig", kind: pathList(), borrowed: "KUBECONFIG", help: "kubeconfig file, or several as in KUBECONFIG (default the pod's service account or, outside of a pod, ~/.kube/config)"},
	{key: "store.kubernetes.context", kind: text(), help: "context of the kubeconfig"},
	{key: "store.kubernetes.name", kind: text(), fallback: "credbus", help: "name that separates the Secrets of this store from others in the namespace"},

	{key: "store.read_timeout", kind: duration(time.Millisecond, time.Hour), fallback: "5s", help: "limit of one read, retries included"},
	{key: "store.write_timeout", kind: duration(time.Millisecond, time.Hour), fallback: "10s", help: "limit of one write, retries included"},
	{key: "store.lag", kind: optionalDuration(0, 10*time.Minute), help: "for how long after an acknowledged write a read may still return the old state; 0s for never (default that of the type: 10s for vault and aws, 0s for others)"},
	{key: "store.retries", kind: count(0, 100), fallback: "5", help: "how often a call is tried again after a passing fault"},
	{key: "store.retry_backoff", kind: duration(time.Millisecond, time.Hour), fallback: "100ms", help: "pause before the first retry; doubles with each"},
	{key: "store.breaker_failures", kind: count(0, 1_000_000), fallback: "10", help: "passing faults in a row after which calls are refused at once; 0 for never"},
	{key: "store.breaker_delay", kind: duration(time.Millisecond, time.Hour), fallback: "5s", help: "how long calls are refused before one goes through as a probe"},

	{key: "keyring.file", kind: path(), under: "keyring.json", help: "file with the keys that seal credentials; every worker on one store needs the same"},
	{key: "keyring.wrap", kind: text(), help: "key that wraps the file: hcvault://HOST:PORT/transit/keys/NAME (VAULT_TOKEN) or aws-kms://ARN; without one it is in clear"},
	{key: "keyring.require_format", kind: count(1, 2), fallback: "1", help: "lowest format of sealed records that the worker reads; 2 refuses records whose metadata is not sealed: set it once credbus keys rotate has left none"},

	{key: "deployment.change", kind: boolean(), fallback: "false", help: "for one start, while no other worker runs: make this worker's stores, routes and keyring those of the deployment, instead of refusing to start"},

	{key: "cache.enabled", kind: boolean(), fallback: "true", help: "answer from memory where that is safe"},
	{key: "cache.ttl", kind: duration(time.Millisecond, 365*day), fallback: "5m", help: "how long an entry is used"},
	{key: "cache.negative_ttl", kind: duration(0, day), fallback: "10s", help: "how long the cache remembers that a credential does not exist; 0s for not at all"},
	{key: "cache.idle", kind: duration(0, 365*day), fallback: "0s", help: "drop an entry that was not used for this long; 0s for never"},
	{key: "cache.stale_on_outage", kind: duration(0, 365*day), fallback: "0s", help: "maximum age of the answers, marked as stale, that are given while the store cannot be reached; takes as much memory again as the cache; 0s for none"},
	{key: "cache.entries", kind: count(1, 100_000), fallback: "1000", help: "maximum number of entries"},
	{key: "cache.bytes", kind: size(1<<20, 1<<40), fallback: "64MiB", help: "maximum memory of the entries"},

	{key: "batch.items", kind: count(1, 100), fallback: "100", help: "maximum number of items of a batch"},
	{key: "batch.concurrency", kind: count(1, 100), fallback: "10", help: "items of a batch under way at once"},

	{key: "pool.workers", kind: count(1, 65_536), fallback: "256", help: "commands under way at once"},
	{key: "pool.queue", kind: count(1, 1<<20), fallback: "16384", help: "commands that may wait"},
	{key: "pool.bytes", kind: size(1<<20, 1<<40), fallback: "64MiB", help: "maximum memory of commands that wait"},
	{key: "pool.memory", kind: size(16<<20, 1<<40), fallback: "128MiB", help: "maximum memory of commands under way, counted by what they may read and answer; a quarter is kept for commands on a single credential"},

	{key: "limits.requests", kind: limitList(), help: "requests a second that a scope and all below it may send to each worker, such as org:*=1000,org:acme=5000, separated by commas: org:* is for each org, except those that are named; each item of a batch is a request"},
	{key: "limits.in_flight", kind: limitList(), help: "requests of a scope and all below it that may wait or be under way in each worker, such as org:*=64"},
	{key: "limits.bytes", kind: byteLimitList(), help: "bytes a second of requests and replies of a scope and all below it in each worker, such as org:*=8MiB"},
	{key: "limits.jobs", kind: limitList(), help: "jobs of a scope and all below it that may be in the queue, such as org:*=1000"},
	{key: "limits.credentials", kind: limitList(), help: "credentials that a scope and all below it may have, such as org:*=10000"},

	{key: "audit.level", kind: oneOf("off", "writes", "all"), fallback: "off", help: "which commands are recorded: off, writes (store, patch, delete, and jobs of them) or all"},
	{key: "audit.required", kind: boolean(), fallback: "false", help: "refuse what cannot be recorded; otherwise lost records are counted and reported"},
	{key: "audit.sink", kind: oneOf("file", "stream", "both"), fallback: "file", help: "where records go: file, stream (a JetStream stream of all workers) or both"},
	{key: "audit.file", kind: path(), under: "audit/audit.log", help: "file of the records, one for each worker; SIGHUP opens it again"},
	{key: "audit.max_bytes", kind: size(1<<20, 100<<40), fallback: "64MiB", help: "size from which the file is rotated: it gets a number after its name, and a new one begins"},
	{key: "audit.keep", kind: count(0, 1_000_000), fallback: "0", help: "how many rotated files are kept; 0 for all"},
	{key: "audit.sync", kind: boolean(), fallback: "false", help: "wait until the disk has each record, so that a power failure loses none"},
	{key: "audit.stream.name", kind: name(), fallback: "CREDBUS_AUDIT", byPrefix: true, help: "JetStream stream of the records"},
	{key: "audit.stream.max_bytes", kind: size(1<<20, 100<<40), fallback: "1GiB", help: "maximum disk space of that stream: beyond it, nothing more can be recorded"},
	{key: "audit.stream.max_age", kind: duration(time.Minute, 3650*day), fallback: "8760h", help: "how long records stay in that stream"},
	{key: "audit.request_info", kind: boolean(), fallback: "false", help: "record the account and user that the header Nats-Request-Info names, which NATS servers set on imports with share; only if no client can publish in the workers' own account, where it can be made up"},

	{key: "jobs.enabled", kind: boolean(), fallback: "true", help: "run batch jobs, and answer commands about them"},
	{key: "jobs.stream", kind: name(), fallback: "CREDBUS_JOBS", byPrefix: true, help: "JetStream stream of the queue; the names of the other streams of jobs begin with it"},
	{key: "jobs.max_bytes", kind: size(1<<20, 100<<40), fallback: "1GiB", help: "maximum disk space of the queue: beyond it, no job is accepted"},
	{key: "jobs.max_status_bytes", kind: size(1<<20, 100<<40), fallback: "256MiB", help: "maximum disk space for the statuses of jobs: beyond three quarters of it, no job begins"},
	{key: "jobs.max_dead_bytes", kind: size(1<<20, 100<<40), fallback: "256MiB", help: "maximum disk space of dead letters: beyond it, the oldest are dropped"},
	{key: "jobs.max_delay", kind: duration(time.Minute, 365*day), fallback: "168h", help: "how far ahead the not_before of a job may be"},
	{key: "jobs.keep", kind: duration(time.Minute, 365*day), fallback: "24h", help: "how long the result of a job is known, and the same job is not done again"},
	{key: "jobs.keep_dead", kind: duration(time.Minute, 365*day), fallback: "168h", help: "how long a dead letter can be retried"},
	{key: "jobs.concurrency", kind: count(1, 1000), fallback: "2", help: "jobs under way at once, each with batch.concurrency items at once"},
	{key: "jobs.share", kind: count(1, 100), fallback: "10", help: "percent of its time that a worker gives to jobs while requests come in; 100 for no such limit"},
	{key: "jobs.attempts", kind: count(1, 1000), fallback: "10", help: "how often a job is begun before it is given up"},
	{key: "jobs.backoff", kind: duration(time.Millisecond, time.Hour), fallback: "1s", help: "pause before the second attempt; doubles with each, up to 5m"},
	{key: "jobs.ack_wait", kind: duration(time.Second, time.Hour), fallback: "30s", help: "silence of a worker after which its jobs go to others"},

	{key: "stream.name", kind: name(), fallback: "CREDBUS", byPrefix: true, help: "JetStream stream through which replicas agree"},
	{key: "stream.replicas", kind: oneOfCounts(1, 3, 5), fallback: "1", help: "copies of the stream in a cluster: 1, 3 or 5"},
	{key: "stream.max_age", kind: duration(time.Minute, 365*day), fallback: "24h", help: "how long change events are kept"},
	{key: "stream.max_bytes", kind: size(1<<20, 100<<40), fallback: "256MiB", help: "maximum disk space of the stream"},

	{key: "expiry.interval", kind: interval(time.Second, day), fallback: "10m", help: "how often the workers, together, look for credentials that expire; 0s for never"},
	{key: "expiry.ahead", kind: durationList(10, 365*day), fallback: "168h,24h", help: "how long before a credential expires an event reports it: times separated by commas; empty for an event only when it has expired"},

	{key: "coherence.mode", kind: oneOf("bounded", "strict", "off"), fallback: "bounded", help: "bounded: a replica that is cut off may be 2 s behind; strict: none ever is, and writes wait for all; off: entries are trusted for their whole TTL, for measuring only"},

	{key: "clock.max_skew", kind: interval(time.Second, time.Hour), fallback: "10s", help: "how far the clock of this machine may be from that of the NATS server for the worker to be ready; more than 1s is a warning; 0s for no bound"},

	{key: "health.listen", kind: listenAddress(), help: "host:port to answer /livez and /readyz at over HTTP; empty for nowhere"},

	{key: "shutdown.timeout", kind: duration(0, time.Hour), fallback: "10s", help: "how long work under way may take to end"},
}

// named is the default of a name that deployments on one account must not share:
// CREDBUS_JOBS, or CREDBUS_staging_v1_JOBS with the prefix staging.v1.
func (s *setting) named(by subjects.Prefix) string {
	if !s.byPrefix || by == "" || by == subjects.DefaultPrefix {
		return s.fallback
	}
	return "CREDBUS_" + strings.ReplaceAll(string(by), ".", "_") + strings.TrimPrefix(s.fallback, "CREDBUS")
}

// of is the entry of a key, nil if there is none.
func (t table) of(key string) *setting {
	for i := range t {
		if t[i].key == key {
			return &t[i]
		}
	}
	return nil
}

func (t table) keys() (keys []string) {
	for i := range t {
		keys = append(keys, t[i].key)
	}
	return keys
}

// firstOf is the first setting of a group, "" if there is no such group.
func (t table) firstOf(group string) string {
	if group == storesGroup {
		return StoreKey("NAME") + ".type"
	}
	for i := range t {
		if strings.HasPrefix(t[i].key, group+".") {
			return t[i].key
		}
	}
	return ""
}

// flagName spells a key as flags are spelled: data_dir is --data-dir.
func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

// keyOfFlag is the inverse of flagName; no key has a dash.
func keyOfFlag(name string) string { return strings.ReplaceAll(name, "-", "_") }

func (s *setting) flag() string { return "--" + flagName(s.key) }

func (s *setting) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// parse applies the rule of the setting to a value from any source.
func (s *setting) parse(raw any) (any, error) {
	if (s.secret || s.kind.name == addressName) && strings.Contains(fmt.Sprint(raw), redacted) {
		return nil, fmt.Errorf("this stands for a secret that is not shown: put the real one in its place")
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
	// A key that was copied from a file works as a flag, too.
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
