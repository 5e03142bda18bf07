package config

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

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
	// Stores are more of them by name, which Store.Routes leads to. Only the
	// file defines them.
	Stores     map[string]Store `koanf:"stores"`
	Keyring    Keyring          `koanf:"keyring"`
	Deployment Deployment       `koanf:"deployment"`
	Cache      Cache            `koanf:"cache"`
	Batch      Batch            `koanf:"batch"`
	Pool       Pool             `koanf:"pool"`
	Jobs       Jobs             `koanf:"jobs"`
	Stream     Stream           `koanf:"stream"`
	Expiry     Expiry           `koanf:"expiry"`
	Coherence  Coherence        `koanf:"coherence"`
	Clock      Clock            `koanf:"clock"`
	Health     Health           `koanf:"health"`
	Shutdown   Shutdown         `koanf:"shutdown"`

	table  table            // with the settings of Stores
	values map[string]value // by key; what WriteYAML and Check name origins from
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

// Wire says what requests and jobs may look like.
type Wire struct {
	Strict bool `koanf:"strict"` // refuse unknown fields
}

// Store is where credentials are kept, and how patient the worker is with it.
type Store struct {
	Type         string         `koanf:"type"`   // file, jetstream, memory, vault, aws or kubernetes
	Form         string         `koanf:"form"`   // sealed or native
	Routes       []Route        `koanf:"routes"` // what other stores keep; of Config.Store only
	Dir          string         `koanf:"dir"`
	Bucket       string         `koanf:"bucket"`
	MaxBytes     Bytes          `koanf:"max_bytes"` // of the bucket; zero: no bound of its own
	Replicas     int            `koanf:"replicas"`
	Vault        Vault          `koanf:"vault"`
	AWS          AWS            `koanf:"aws"`
	Kubernetes   Kubernetes     `koanf:"kubernetes"`
	ReadTimeout  time.Duration  `koanf:"read_timeout"`
	WriteTimeout time.Duration  `koanf:"write_timeout"`
	Lag          *time.Duration `koanf:"lag"` // of reads behind writes; nil: that of the type
	Retries      int            `koanf:"retries"`
	RetryBackoff time.Duration  `koanf:"retry_backoff"` // before the first retry; doubles

	BreakerFailures int           `koanf:"breaker_failures"` // in a row; zero: it never opens
	BreakerDelay    time.Duration `koanf:"breaker_delay"`    // until a probe is let through
}

// Native reports whether values are kept in the provider's own form.
func (s Store) Native() bool { return s.Form == "native" }

// Vault is a KV v2 engine of Vault or OpenBao, and who the worker is to it. What
// is empty has the driver's default.
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

// AWS is Secrets Manager. What is empty has the default of the AWS SDK, which
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

// Kubernetes is a namespace whose Secrets hold credentials. What is empty has
// the driver's default.
type Kubernetes struct {
	Namespace  string `koanf:"namespace"`
	Kubeconfig string `koanf:"kubeconfig"`
	Context    string `koanf:"context"`
	Name       string `koanf:"name"`
}

// Keyring is where the keys are that seal what is stored.
type Keyring struct {
	File string `koanf:"file"`
	Wrap string `koanf:"wrap"` // URI of the key that the file is wrapped by; empty: it is in clear
	// RequireFormat is the least format of sealed records that is read.
	RequireFormat int `koanf:"require_format"`
}

// Deployment says what a start may change of what all workers agree on.
type Deployment struct {
	Change bool `koanf:"change"`
}

// Cache bounds the cache of sealed credentials.
type Cache struct {
	Enabled     bool          `koanf:"enabled"`
	TTL         time.Duration `koanf:"ttl"`
	NegativeTTL time.Duration `koanf:"negative_ttl"` // of absences; zero: they are not cached
	Idle        time.Duration `koanf:"idle"`         // zero: entries do not idle out
	// StaleOnOutage is how old an answer may be that is given while the store
	// cannot be reached; zero: none is.
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
	Bytes   Bytes `koanf:"bytes"`  // of those that wait
	Memory  Bytes `koanf:"memory"` // of those under way
}

// Jobs says how batch jobs are kept and run.
type Jobs struct {
	Enabled     bool          `koanf:"enabled"`
	Stream      string        `koanf:"stream"` // the names of others begin with it
	MaxBytes    Bytes         `koanf:"max_bytes"`
	MaxStatus   Bytes         `koanf:"max_status_bytes"`
	MaxDead     Bytes         `koanf:"max_dead_bytes"`
	MaxDelay    time.Duration `koanf:"max_delay"` // how far ahead not_before may be
	Keep        time.Duration `koanf:"keep"`      // what is known of a job, after its last change
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

// Expiry says how credentials are found that expire, and when that is told.
type Expiry struct {
	Interval time.Duration   `koanf:"interval"` // zero: they are not looked for
	Ahead    []time.Duration `koanf:"ahead"`    // the longest first
}

// Coherence says what replicas promise of what they have cached.
type Coherence struct {
	Mode string `koanf:"mode"` // bounded, strict or off
}

// Clock says how wrong the clock may be.
type Clock struct {
	MaxSkew time.Duration `koanf:"max_skew"` // zero: no bound
}

// Health says where the worker tells over HTTP how it is.
type Health struct {
	Listen string `koanf:"listen"` // host:port; empty: nowhere
}

// Shutdown says how long work under way may take to end.
type Shutdown struct {
	Timeout time.Duration `koanf:"timeout"`
}

// Load reads the configuration. flags are those that Flags registered, parsed
// already; nil stands for none given. environ has the form of os.Environ. The
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
