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
	DataDir   string    `koanf:"data_dir"`
	Log       Log       `koanf:"log"`
	NATS      NATS      `koanf:"nats"`
	Store     Store     `koanf:"store"`
	Keyring   Keyring   `koanf:"keyring"`
	Cache     Cache     `koanf:"cache"`
	Batch     Batch     `koanf:"batch"`
	Pool      Pool      `koanf:"pool"`
	Stream    Stream    `koanf:"stream"`
	Coherence Coherence `koanf:"coherence"`
	Shutdown  Shutdown  `koanf:"shutdown"`

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

// Store is where credentials are kept, and how patient the worker is with it.
type Store struct {
	Type         string        `koanf:"type"` // file, jetstream or memory
	Dir          string        `koanf:"dir"`
	Bucket       string        `koanf:"bucket"`
	Replicas     int           `koanf:"replicas"`
	ReadTimeout  time.Duration `koanf:"read_timeout"`
	WriteTimeout time.Duration `koanf:"write_timeout"`
	Retries      int           `koanf:"retries"`
	RetryBackoff time.Duration `koanf:"retry_backoff"` // before the first retry; doubles

	BreakerFailures int           `koanf:"breaker_failures"` // in a row; zero: it never opens
	BreakerDelay    time.Duration `koanf:"breaker_delay"`    // until a probe is let through
}

// Keyring is where the keys are that seal what is stored.
type Keyring struct {
	File string `koanf:"file"`
}

// Cache bounds the cache of sealed credentials.
type Cache struct {
	Enabled     bool          `koanf:"enabled"`
	TTL         time.Duration `koanf:"ttl"`
	NegativeTTL time.Duration `koanf:"negative_ttl"` // of absences; zero: they are not cached
	Idle        time.Duration `koanf:"idle"`         // zero: entries do not idle out
	Entries     int           `koanf:"entries"`
	Bytes       Bytes         `koanf:"bytes"`
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
	Bytes   Bytes `koanf:"bytes"`
}

// Stream is the JetStream stream through which replicas agree.
type Stream struct {
	Name     string        `koanf:"name"`
	Replicas int           `koanf:"replicas"`
	MaxAge   time.Duration `koanf:"max_age"`
	MaxBytes Bytes         `koanf:"max_bytes"`
}

// Coherence says what replicas promise of what they have cached.
type Coherence struct {
	Mode string `koanf:"mode"` // bounded, strict or off
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
	src := sources{flags: flags, environ: environ}
	c := &Config{values: src.read()}
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
	for i := range settings {
		s := &settings[i]
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
			}
		}
		parsed, err := s.parse(v.raw)
		if err == nil && s.kind.name == pathName {
			parsed, err = paths.absolute(parsed.(string))
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
