package config

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"credbus/internal/limits"
	"credbus/subjects"
)

// Config is the worker's effective configuration. Load makes it.
type Config struct {
	DataDir  string   `koanf:"data_dir"`
	Log      Log      `koanf:"log"`
	NATS     NATS     `koanf:"nats"`
	Wire     Wire     `koanf:"wire"`
	Security Security `koanf:"security"`
	Store    Store    `koanf:"store"`
	// Stores are further stores by name, the targets of Store.Routes. Only the
	// file defines them.
	Stores     map[string]Store `koanf:"stores"`
	Keyring    Keyring          `koanf:"keyring"`
	Deployment Deployment       `koanf:"deployment"`
	Cache      Cache            `koanf:"cache"`
	Batch      Batch            `koanf:"batch"`
	Pool       Pool             `koanf:"pool"`
	Limits     Limits           `koanf:"limits"`
	Audit      Audit            `koanf:"audit"`
	Jobs       Jobs             `koanf:"jobs"`
	Stream     Stream           `koanf:"stream"`
	Expiry     Expiry           `koanf:"expiry"`
	Coherence  Coherence        `koanf:"coherence"`
	Clock      Clock            `koanf:"clock"`
	Health     Health           `koanf:"health"`
	Shutdown   Shutdown         `koanf:"shutdown"`

	table  table            // with the settings of Stores
	values map[string]value // by key; WriteYAML and Check get origins from them
}

// Log says what is logged, and how.
type Log struct {
	Level  slog.Level `koanf:"level"`
	Format string     `koanf:"format"` // text or json
}

// NATS is either a server to join, when URL or Context is set, or the
// embedded one at Host and Port.
type NATS struct {
	URL           string          `koanf:"url"`
	Context       string          `koanf:"context"` // name, or path of a .json file
	Creds         string          `koanf:"creds"`
	User          string          `koanf:"user"`
	Password      string          `koanf:"password"`
	Token         string          `koanf:"token"`
	NKey          string          `koanf:"nkey"`
	TLS           TLS             `koanf:"tls"`
	Host          string          `koanf:"host"`
	Port          int             `koanf:"port"`
	Prefix        subjects.Prefix `koanf:"prefix"`
	InboxPrefixes []string        `koanf:"inbox_prefixes"`
	Queue         string          `koanf:"queue"`
}

// Embedded reports whether the worker runs a NATS server of its own.
func (n NATS) Embedded() bool { return n.URL == "" && n.Context == "" }

// TLS names the PEM files of the connection to NATS.
type TLS struct {
	CA   string `koanf:"ca"`
	Cert string `koanf:"cert"`
	Key  string `koanf:"key"`
}

// Wire says what requests and jobs must look like.
type Wire struct {
	Strict bool   `koanf:"strict"` // refuse unknown fields
	Clear  string `koanf:"clear"`  // what happens to requests that are not sealed
}

// Store is where credentials are kept, and how patient the worker is with it.
type Store struct {
	Type         string         `koanf:"type"`   // file, jetstream, memory, vault, aws or kubernetes
	Form         string         `koanf:"form"`   // sealed or native
	Routes       []Route        `koanf:"routes"` // scopes that other stores keep; in Config.Store only
	Dir          string         `koanf:"dir"`
	Bucket       string         `koanf:"bucket"`
	MaxBytes     Bytes          `koanf:"max_bytes"` // of the bucket; zero: no bound of its own
	Replicas     int            `koanf:"replicas"`
	Vault        Vault          `koanf:"vault"`
	AWS          AWS            `koanf:"aws"`
	Kubernetes   Kubernetes     `koanf:"kubernetes"`
	ReadTimeout  time.Duration  `koanf:"read_timeout"`
	WriteTimeout time.Duration  `koanf:"write_timeout"`
	Lag          *time.Duration `koanf:"lag"` // of reads behind writes; nil: the default of the type
	Retries      int            `koanf:"retries"`
	RetryBackoff time.Duration  `koanf:"retry_backoff"` // before the first retry; doubles

	BreakerFailures int           `koanf:"breaker_failures"` // in a row; zero: it never opens
	BreakerDelay    time.Duration `koanf:"breaker_delay"`    // until a probe is let through
}

// Native reports whether values are kept in the provider's own form.
func (s Store) Native() bool { return s.Form == "native" }

// Vault is a KV v2 engine of Vault or OpenBao, and the worker's login. Empty fields
// have the driver's default.
type Vault struct {
	Address      string `koanf:"address"`
	Namespace    string `koanf:"namespace"`
	Mount        string `koanf:"mount"`
	Path         string `koanf:"path"`
	Auth         string `koanf:"auth"` // token, approle or kubernetes
	AuthMount    string `koanf:"auth_mount"`
	Token        string `koanf:"token"`
	TokenFile    string `koanf:"token_file"`
	RoleID       string `koanf:"role_id"`
	SecretID     string `koanf:"secret_id"`
	SecretIDFile string `koanf:"secret_id_file"`
	Role         string `koanf:"role"`
	JWTFile      string `koanf:"jwt_file"`
	CA           string `koanf:"ca"`
}

// AWS is Secrets Manager. Empty fields have the default of the AWS SDK, which
// reads the variables and files of the aws command.
type AWS struct {
	Region       string `koanf:"region"`
	Profile      string `koanf:"profile"`
	Endpoint     string `koanf:"endpoint"`
	Role         string `koanf:"role"` // ARN
	ExternalID   string `koanf:"external_id"`
	STSEndpoint  string `koanf:"sts_endpoint"`
	Prefix       string `koanf:"prefix"`
	RecoveryDays int    `koanf:"recovery_days"`
	ForceDelete  bool   `koanf:"force_delete"`
	KMSKey       string `koanf:"kms_key"`
}

// Kubernetes is a namespace whose Secrets hold credentials. Empty fields have
// the driver's default.
type Kubernetes struct {
	Namespace  string `koanf:"namespace"`
	Kubeconfig string `koanf:"kubeconfig"`
	Context    string `koanf:"context"`
	Name       string `koanf:"name"`
}

// Keyring says where the keys are that seal credentials.
type Keyring struct {
	File string `koanf:"file"`
	Wrap string `koanf:"wrap"` // URI of the key that wraps the file; empty: it is in clear
	// RequireFormat is the lowest format of sealed records that the worker reads.
	RequireFormat int `koanf:"require_format"`
}

// Deployment says whether a start may change what all workers must agree on.
type Deployment struct {
	Change bool `koanf:"change"`
}

// Cache bounds the cache of sealed credentials.
type Cache struct {
	Enabled     bool          `koanf:"enabled"`
	TTL         time.Duration `koanf:"ttl"`
	NegativeTTL time.Duration `koanf:"negative_ttl"` // of absences; zero: they are not cached
	Idle        time.Duration `koanf:"idle"`         // zero: entries do not idle out
	// StaleOnOutage is the maximum age of answers that are given while the store
	// cannot be reached; zero: none are.
	StaleOnOutage time.Duration `koanf:"stale_on_outage"`
	Entries       int           `koanf:"entries"`
	Bytes         Bytes         `koanf:"bytes"`
}

// Batch bounds one batch command.
type Batch struct {
	Items       int `koanf:"items"`
	Concurrency int `koanf:"concurrency"`
}

// Pool bounds the work that is under way and waiting.
type Pool struct {
	Workers int   `koanf:"workers"`
	Queue   int   `koanf:"queue"`
	Bytes   Bytes `koanf:"bytes"`  // of waiting commands
	Memory  Bytes `koanf:"memory"` // of commands under way
}

// Limits bounds what scopes may take, each with all below it.
type Limits struct {
	Requests    []limits.Rule `koanf:"requests"`    // a second
	InFlight    []limits.Rule `koanf:"in_flight"`   // requests that wait or are under way
	Bytes       []limits.Rule `koanf:"bytes"`       // a second, of requests and replies
	Jobs        []limits.Rule `koanf:"jobs"`        // in the queue
	Credentials []limits.Rule `koanf:"credentials"` // in the store
}

// Audit says which commands are recorded, and where.
type Audit struct {
	Level       string      `koanf:"level"` // off, writes or all
	Required    bool        `koanf:"required"`
	Sink        string      `koanf:"sink"` // file, stream or both
	File        string      `koanf:"file"`
	MaxBytes    Bytes       `koanf:"max_bytes"` // of the file, until it is rotated
	Keep        int         `koanf:"keep"`      // rotated files; zero: all
	Sync        bool        `koanf:"sync"`
	Stream      AuditStream `koanf:"stream"`
	RequestInfo bool        `koanf:"request_info"`
}

// ToFile reports whether records go into a file.
func (a Audit) ToFile() bool { return a.Level != "off" && a.Sink != "stream" }

// ToStream reports whether records go into a stream.
func (a Audit) ToStream() bool { return a.Level != "off" && a.Sink != "file" }

// AuditStream is the stream of the audit log, which all workers share.
type AuditStream struct {
	Name     string        `koanf:"name"`
	MaxBytes Bytes         `koanf:"max_bytes"`
	MaxAge   time.Duration `koanf:"max_age"`
}

// Jobs says how batch jobs are kept and run.
type Jobs struct {
	Enabled     bool          `koanf:"enabled"`
	Stream      string        `koanf:"stream"` // the names of the other streams begin with it
	MaxBytes    Bytes         `koanf:"max_bytes"`
	MaxStatus   Bytes         `koanf:"max_status_bytes"`
	MaxDead     Bytes         `koanf:"max_dead_bytes"`
	MaxDelay    time.Duration `koanf:"max_delay"` // how far ahead not_before may be
	Keep        time.Duration `koanf:"keep"`      // the status of a job, after its last change
	KeepDead    time.Duration `koanf:"keep_dead"` // dead letters
	Concurrency int           `koanf:"concurrency"`
	Share       int           `koanf:"share"` // percent of the time, while requests come in
	Attempts    int           `koanf:"attempts"`
	Backoff     time.Duration `koanf:"backoff"`  // before the second attempt; doubles
	AckWait     time.Duration `koanf:"ack_wait"` // of a worker's silence
}

// Stream is the JetStream stream through which replicas agree.
type Stream struct {
	Name     string        `koanf:"name"`
	Replicas int           `koanf:"replicas"`
	MaxAge   time.Duration `koanf:"max_age"`
	MaxBytes Bytes         `koanf:"max_bytes"`
}

// Expiry says how often workers look for credentials that expire, and when they report it.
type Expiry struct {
	Interval time.Duration   `koanf:"interval"` // zero: never
	Ahead    []time.Duration `koanf:"ahead"`    // the longest first
}

// Coherence says what replicas guarantee about cached answers.
type Coherence struct {
	Mode string `koanf:"mode"` // bounded, strict or off
}

// Clock says how wrong the clock may be.
type Clock struct {
	MaxSkew time.Duration `koanf:"max_skew"` // zero: no bound
}

// Health says where the worker reports its health over HTTP.
type Health struct {
	Listen string `koanf:"listen"` // host:port; empty: nowhere
}

// Shutdown says how long work under way may take to end.
type Shutdown struct {
	Timeout time.Duration `koanf:"timeout"`
}

// Load reads the configuration. flags are those that Flags registered, already
// parsed; nil means that none is given. environ has the form of os.Environ. The
// error holds every problem that was found.
func Load(flags *pflag.FlagSet, environ []string) (*Config, error) {
	if flags == nil {
		flags = pflag.NewFlagSet("", pflag.ContinueOnError)
	}
	src := sources{flags: flags, environ: environ, table: settings}
	c := &Config{values: src.read(), table: src.table}
	problems := append(src.problems, c.parse(lookup(environ))...)
	problems = append(problems, c.problems()...)
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return c, nil
}

// parse turns c.values into the fields of c. A value that breaks its rule is
// reported and replaced by its default, so that the rest can be checked.
func (c *Config) parse(getenv func(string) string) (problems []error) {
	report := func(s *setting, v value, err error) {
		problems = append(problems, fmt.Errorf("%s is %s: %w", v.name(s.key), s.quote(v.raw), err))
	}
	paths := paths{getenv}
	all := koanf.New(".")
	for i := range c.table {
		s := &c.table[i]
		v, given := c.values[s.key]
		if !given {
			v = value{raw: s.fallback}
			switch {
			case s.key == dataDir:
				dir, err := paths.dataDir()
				if err != nil {
					problems = append(problems, err)
				}
				v.raw = dir
			case s.under != "":
				v.raw = paths.join(all.String(dataDir), s.under)
			case s.byPrefix:
				by, _ := c.values["nats.prefix"].parsed.(subjects.Prefix)
				v.raw = s.named(by)
			case s.inherits != "":
				v = value{raw: c.values[s.inherits].raw, inherited: s.inherits}
			}
		}
		parsed, err := s.parse(v.raw)
		switch {
		case err != nil:
		case s.kind.name == pathName:
			parsed, err = paths.absolute(parsed.(string))
		case s.kind.name == pathsName:
			parsed, err = paths.allAbsolute(parsed.(string))
		}
		if err != nil {
			report(s, v, err)
			v = value{raw: s.fallback}
			if parsed, err = s.parse(v.raw); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", s.key, err)) // a test parses every default
			}
		}
		v.parsed = parsed
		c.values[s.key] = v
		if err := all.Set(s.key, parsed); err != nil {
			report(s, v, err)
		}
	}
	if err := all.Unmarshal("", c); err != nil {
		problems = append(problems, err)
	}
	return problems
}
