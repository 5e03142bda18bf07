package config

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"credbus/internal/natsconn"
)

// secret stands for a password wherever a test looks for leaks.
const secret = "hunter2"

// load loads from flags as a user writes them and an environment with a home
// directory of its own.
func load(t *testing.T, args []string, environ ...string) (*Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	Flags(flags)
	flags.Bool("other", false, "a flag of the command")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	base := []string{"HOME=" + home, "USERPROFILE=" + home, "LocalAppData=" + home, "AppData=" + home, "PATH=/bin"}
	return Load(flags, append(base, environ...))
}

func mustLoad(t *testing.T, args []string, environ ...string) *Config {
	t.Helper()
	c, err := load(t, args, environ...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func writeYAML(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	got := mustLoad(t, []string{"--data-dir", "/data"})
	got.values, got.table = nil, nil
	dir, err := filepath.Abs("/data")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		DataDir:   dir,
		Log:       Log{Level: slog.LevelInfo, Format: "text"},
		NATS:      NATS{Host: "127.0.0.1", Port: 4222, Prefix: "cred.v1", InboxPrefixes: []string{"_INBOX"}, Queue: "credbus"},
		Store:     Store{Type: "file", Form: "sealed", Vault: Vault{Mount: "secret", Path: "credbus", Auth: "token"}, Kubernetes: Kubernetes{Name: "credbus"}, AWS: AWS{Prefix: "credbus", RecoveryDays: 30}, Dir: filepath.Join(dir, "credentials"), Bucket: "CREDBUS_CREDENTIALS", Replicas: 1, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, Retries: 5, RetryBackoff: 100 * time.Millisecond, BreakerFailures: 10, BreakerDelay: 5 * time.Second},
		Wire:      Wire{Clear: "warn"},
		Keyring:   Keyring{File: filepath.Join(dir, "keyring.json"), RequireFormat: 1},
		Cache:     Cache{Enabled: true, TTL: 5 * time.Minute, NegativeTTL: 10 * time.Second, Entries: 1000, Bytes: 64 << 20},
		Batch:     Batch{Items: 100, Concurrency: 10},
		Pool:      Pool{Workers: 256, Queue: 16384, Bytes: 64 << 20, Memory: 128 << 20},
		Audit:     Audit{Level: "off", Sink: "file", Stream: AuditStream{"CREDBUS_AUDIT", 1 << 30, 365 * 24 * time.Hour}, File: filepath.Join(dir, "audit", "audit.log"), MaxBytes: 64 << 20},
		Jobs:      Jobs{Enabled: true, Stream: "CREDBUS_JOBS", MaxBytes: 1 << 30, MaxStatus: 256 << 20, MaxDead: 256 << 20, MaxDelay: 7 * 24 * time.Hour, Keep: 24 * time.Hour, KeepDead: 7 * 24 * time.Hour, Concurrency: 2, Share: 10, Attempts: 10, Backoff: time.Second, AckWait: 30 * time.Second},
		Stream:    Stream{Name: "CREDBUS", Replicas: 1, MaxAge: 24 * time.Hour, MaxBytes: 256 << 20},
		Expiry:    Expiry{Interval: 10 * time.Minute, Ahead: []time.Duration{7 * day, day}},
		Coherence: Coherence{Mode: "bounded"},
		Clock:     Clock{MaxSkew: 10 * time.Second},
		Shutdown:  Shutdown{Timeout: 10 * time.Second},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !got.NATS.Embedded() {
		t.Error("not embedded")
	}
}

// TestTableMatchesStruct finds a setting without a field and a field without
// a setting, and two settings that one variable would set.
func TestTableMatchesStruct(t *testing.T) {
	var fields []string
	var walk func(prefix string, t reflect.Type)
	walk = func(prefix string, t reflect.Type) {
		for i := range t.NumField() {
			tag := t.Field(i).Tag.Get("koanf")
			if tag == "" || tag == storesGroup {
				continue // named stores have the settings of store
			}
			if t.Field(i).Type.Kind() == reflect.Struct {
				walk(prefix+tag+".", t.Field(i).Type)
				continue
			}
			fields = append(fields, prefix+tag)
		}
	}
	walk("", reflect.TypeFor[Config]())
	keys := settings.keys()
	if !slices.Equal(fields, keys) {
		t.Errorf("fields   %v\nsettings %v", fields, keys)
	}
	variables := map[string]string{}
	for i := range settings {
		s := &settings[i]
		if other := variables[s.variable()]; other != "" {
			t.Errorf("%s sets both %s and %s", s.variable(), other, s.key)
		}
		variables[s.variable()] = s.key
		if _, err := s.parse(s.fallback); err != nil {
			t.Errorf("%s: default %q: %v", s.key, s.fallback, err)
		}
		if s.help == "" {
			t.Errorf("%s has no help", s.key)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := writeYAML(t, "nats:\n  url: nats://file\n")
	steps := []struct {
		name    string
		args    []string
		environ []string
		want    string
	}{
		{"default", nil, nil, ""},
		{"file", []string{"--config", file}, nil, "nats://file"},
		{"variable of nats", []string{"--config", file}, []string{"NATS_URL=nats://nats"}, "nats://nats"},
		{"own variable", []string{"--config", file}, []string{"CREDBUS_NATS_URL=nats://own", "NATS_URL=nats://nats"}, "nats://own"},
		{"flag", []string{"--config", file, "--nats.url", "nats://flag"}, []string{"CREDBUS_NATS_URL=nats://own", "NATS_URL=nats://nats"}, "nats://flag"},
		{"empty variables", []string{"--config", file}, []string{"CREDBUS_NATS_URL=", "NATS_URL="}, "nats://file"},
		{"empty flag", []string{"--config", file, "--nats.url="}, nil, ""},
		{"file by variable", nil, []string{"CREDBUS_CONFIG=" + file}, "nats://file"},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			if got := mustLoad(t, step.args, step.environ...).NATS.URL; got != step.want {
				t.Errorf("got %q, want %q", got, step.want)
			}
		})
	}
}

// TestEverySourceOfEverySetting sets each setting by each of its names.
func TestEverySourceOfEverySetting(t *testing.T) {
	values := map[string]string{ // values that are not the default, by key or kind
		"log.level": "debug", "log.format": "json", "stream.replicas": "3", "store.replicas": "3", "coherence.mode": "strict",
		"store.type": "memory", "store.form": "native", "store.routes": "org:acme=eu,org:x/y:z=default", "store.vault.auth": "approle",
		"pool.memory": "70MiB", "store.aws.recovery_days": "7", "keyring.require_format": "2", "wire.clear": "refuse", "store.aws.force_delete": "true", "store.vault.address": "https://vault:8200", "store.aws.endpoint": "http://localhost:4566",
		"store.aws.sts_endpoint": "http://localhost:4566", "host:port": "127.0.0.1:8080",
		"text": "x", "path": filepath.Join(t.TempDir(), "x"), "paths": filepath.Join(t.TempDir(), "x"), "address": "nats://x", "bool": "false",
		"audit.level": "writes", "audit.sink": "both", "limits": "org:*=7,org:acme/team:eng=9", "byte limits": "org:*=7MiB",
		"number": "7", "duration": "7m", "durations": "7m,90h", "size": "7MiB", "name": "x", "subject": "x.y", "subjects": "_R.x,_I",
	}
	for i := range settings {
		s := &settings[i]
		text, ok := values[s.key]
		if !ok {
			text = values[s.kind.name]
		}
		if text == "" {
			t.Fatalf("no value to test %s with", s.key)
		}
		group, name, nested := strings.Cut(s.key, ".")
		yaml := group + ": " + text + "\n"
		if nested {
			if above, below, deeper := strings.Cut(name, "."); deeper {
				yaml = group + ":\n  " + above + ":\n    " + below + ": " + text + "\n"
			} else {
				yaml = group + ":\n  " + name + ": " + text + "\n"
			}
		}
		spellings := map[string]struct {
			args    []string
			environ []string
		}{
			s.flag():     {args: []string{s.flag() + "=" + text}},
			s.variable(): {environ: []string{s.variable() + "=" + text}},
			"file":       {args: []string{"--config", writeYAML(t, yaml)}},
		}
		if s.borrowed != "" {
			spellings[s.borrowed] = struct{ args, environ []string }{environ: []string{s.borrowed + "=" + text}}
			if of, found := strings.CutPrefix(group+"."+name, "store."); found { // it counts for that type only
				of, _, _ = strings.Cut(of, ".")
				spellings[s.borrowed] = struct{ args, environ []string }{environ: []string{s.borrowed + "=" + text, "CREDBUS_STORE_TYPE=" + of}}
			}
		}
		want, err := s.parse(text)
		if err != nil {
			t.Fatalf("%s: %v", s.key, err)
		}
		for source, given := range spellings {
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			Flags(flags)
			if err := flags.Parse(given.args); err != nil {
				t.Fatal(err)
			}
			src := sources{flags: flags, environ: given.environ, table: settings}
			c := &Config{values: src.read(), table: src.table}
			problems := append(src.problems, c.parse(lookup([]string{"HOME=/home/x", "USERPROFILE=/home/x", "LocalAppData=/home/x"}))...)
			if len(problems) > 0 {
				t.Errorf("%s by %s: %v", s.key, source, problems)
			}
			if got := c.values[s.key].parsed; !reflect.DeepEqual(got, want) {
				t.Errorf("%s by %s: got %v, want %v", s.key, source, got, want)
			}
			if got := fieldOf(c, s.key); !reflect.DeepEqual(got, want) {
				t.Errorf("%s by %s: field is %v, want %v", s.key, source, got, want)
			}
		}
	}
}

// fieldOf is the field of c whose tags spell key.
func fieldOf(c *Config, key string) any {
	v := reflect.ValueOf(c).Elem()
	for part := range strings.SplitSeq(key, ".") {
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("koanf") == part {
				v = v.Field(i)
				break
			}
		}
	}
	return v.Interface()
}

// TestSameVariablesAsNATS compares the table with the variables that natsconn
// reads for programs without a table.
func TestSameVariablesAsNATS(t *testing.T) {
	asked := map[string]bool{}
	natsconn.Config{}.WithEnviron(func(variable string) string {
		asked[variable] = true
		return ""
	})
	for i := range settings {
		if variable := settings[i].borrowed; strings.HasPrefix(variable, "NATS_") && !asked[variable] {
			t.Errorf("natsconn does not read %s", variable)
		} else {
			delete(asked, variable)
		}
	}
	if len(asked) > 0 {
		t.Errorf("the table lacks %v", asked)
	}
}

func TestExampleFile(t *testing.T) {
	example := mustLoad(t, []string{"--config", "testdata/worker.yaml"})
	defaults := mustLoad(t, []string{"--data-dir", "/var/lib/credbus"})
	example.values, defaults.values, example.table, defaults.table = nil, nil, nil, nil
	if !reflect.DeepEqual(example, defaults) {
		t.Errorf("the example differs from the defaults:\n%+v\n%+v", example, defaults)
	}
}

func TestUsualFile(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("XDG directories are for other systems")
	}
	home := t.TempDir()
	path := filepath.Join(home, "config", "credbus", "worker.yaml")
	environ := []string{"HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "XDG_DATA_HOME=" + filepath.Join(home, "data")}
	c, err := Load(nil, environ)
	if err != nil {
		t.Fatal("without the file:", err)
	}
	if want := filepath.Join(home, "data", "credbus"); c.DataDir != want {
		t.Errorf("data_dir is %s, want %s", c.DataDir, want)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("data_dir: ~/mine\nstore:\n  dir:\nkeyring:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = Load(nil, environ); err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(home, "mine", "credentials"); c.Store.Dir != want {
		t.Errorf("store.dir is %s, want %s", c.Store.Dir, want)
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_DATA_HOME", "relative/is/ignored")
	if dir, err := DefaultDataDir(); err != nil || dir != filepath.Join(home, ".local", "share", "credbus") {
		t.Errorf("DefaultDataDir: %s, %v", dir, err)
	}
}

func TestWriteYAML(t *testing.T) {
	file := writeYAML(t, "nats:\n  inbox_prefixes: [_INBOX, _INBOX_acme]\ncache:\n  ttl: 90s\n  bytes: 100000000\n  idle: 36h\nexpiry:\n  ahead: [24h, 90m, 24h, 720h]\nlimits:\n  requests: [\"org:*=9\", \"org:acme=10\"]\n  bytes: \"org:*=8MiB\"\n")
	args := []string{"--config", file, "--log.level", "debug", "--cache.enabled=false", "--nats.url", "nats://user:" + secret + "@host:4222", "--nats.user=true"}
	c := mustLoad(t, args, "NATS_PASSWORD="+secret, "CREDBUS_NATS_QUEUE=12")
	var out bytes.Buffer
	if err := c.WriteYAML(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Contains(text, secret) {
		t.Errorf("a secret is shown:\n%s", text)
	}
	for _, line := range []string{
		"level: debug # --log.level", "url: nats://[redacted]@host:4222 # --nats.url", "password: '[redacted]' # NATS_PASSWORD",
		"ttl: 1m30s # " + file, "bytes: 100000000B # " + file, "idle: 36h # " + file, "enabled: false # --cache.enabled",
		"inbox_prefixes: [_INBOX, _INBOX_acme] # " + file, "retries: 5 # default", "ahead: [720h, 24h, 1h30m] # " + file, "interval: 10m # default", `user: "true" # --nats.user`,
		`queue: "12" # CREDBUS_NATS_QUEUE`, "requests: ['org:*=9', 'org:acme=10'] # " + file, "bytes: ['org:*=8388608'] # " + file, "jobs: [] # default", "max_age: 24h # default", "timeout: 10s # default",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}

	// Only the redacted secrets keep Load from reading it unchanged.
	_, err := load(t, []string{"--config", writeYAML(t, text)})
	wantProblems(t, err, "nats.url in ", "put the real one in its place", "nats.password in ")
	mended := strings.NewReplacer("'[redacted]'", secret, "[redacted]", "user:"+secret).Replace(text)
	again := mustLoad(t, []string{"--config", writeYAML(t, mended)})
	again.values, c.values, again.table, c.table = nil, nil, nil, nil
	if !reflect.DeepEqual(again, c) {
		t.Errorf("round trip:\n%+v\n%+v", again, c)
	}
}

// wantProblems expects an error that contains each of want, and no secret.
func wantProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not say %q:\n%v", part, err)
		}
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("a secret is shown:\n%v", err)
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Errorf("error is not a list: %T", err)
	}
}
