package config

import (
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestWrongValues(t *testing.T) {
	tests := []struct{ key, text, allowed string }{
		{"log.level", "loud", "must be debug, info, warn or error"},
		{"log.format", "xml", "must be text or json"},
		{"nats.url", "http://host", "must be nats://host:port"},
		{"nats.url", "nats://", "must be nats://host:port"},
		{"nats.url", "nats://host:port", "must be nats://host:port"},
		{"store.vault.address", "vault:8200", "must be https://host:port"},
		{"store.aws.endpoint", "https://", "must be https://host:port"},
		{"nats.port", "0", "1 to 65535"},
		{"nats.port", "65536", "1 to 65535"},
		{"nats.prefix", "cred.>", "joined by dots"},
		{"nats.prefix", "cred..v1", "joined by dots"},
		{"nats.inbox_prefixes", "_INBOX,*", "such as _INBOX"},
		{"nats.inbox_prefixes", ",", "such as _INBOX"},
		{"nats.queue", "a b", "A-Z a-z 0-9 - _"},
		{"store.type", "disk", "must be file or jetstream or memory or vault or aws or kubernetes"},
		{"store.form", "clear", "must be sealed or native"},
		{"store.routes", "org:acme", "such as org:acme=vault-eu"},
		{"store.routes", "acme=eu", "such as org:acme=vault-eu"},
		{"store.routes", "=eu", "such as org:acme=vault-eu"},
		{"store.routes", "org:acme=", "such as org:acme=vault-eu"},
		{"store.routes", "org:acme=a.b", "such as org:acme=vault-eu"},
		{"store.routes", "org:acme=eu,org:acme=us", "one route for each scope"},
		{"limits.requests", "org:acme", "such as org:acme=1000"},
		{"limits.requests", "org:*=0", "a number above 0"},
		{"limits.in_flight", "org:*/team:eng=5", "such as org:acme=1000"},
		{"limits.jobs", "org:*=1,org:*=2", "one limit for each scope"},
		{"limits.credentials", "acme=5", "such as org:acme=1000"},
		{"limits.bytes", "org:*=8 parsecs", "such as org:acme=1000"},
		{"store.vault.auth", "ldap", "must be token or approle or kubernetes"},
		{"store.aws.recovery_days", "6", "7 to 30"},
		{"store.aws.force_delete", "maybe", "true or false"},
		{"clock.max_skew", "500ms", "1s to 1h, or 0s"},
		{"clock.max_skew", "10", "a time with its unit"},
		{"health.listen", "8080", "host:port such as"},
		{"health.listen", "localhost:http", "host:port such as"},
		{"store.read_timeout", "5", "a time with its unit"},
		{"store.read_timeout", "0s", "1ms to 1h"},
		{"store.write_timeout", "-1s", "1ms to 1h"},
		{"store.retries", "-1", "0 to 100"},
		{"store.retries", "many", "0 to 100"},
		{"store.retry_backoff", "fast", "1ms to 1h"},
		{"store.breaker_failures", "-1", "0 to 1000000"},
		{"store.breaker_delay", "0s", "1ms to 1h"},
		{"cache.enabled", "perhaps", "true or false"},
		{"cache.ttl", "0", "1ms to 8760h"},
		{"cache.negative_ttl", "25h", "0s to 24h"},
		{"cache.negative_ttl", "-1s", "0s to 24h"},
		{"cache.idle", "-1m", "0s to 8760h"},
		{"cache.entries", "0", "1 to 100000"},
		{"cache.entries", "100001", "1 to 100000"},
		{"cache.bytes", "1", "a size such as 64MiB, 1MiB to 1TiB"},
		{"cache.bytes", "2TiB", "1MiB to 1TiB"},
		{"cache.bytes", "64 parsecs", "1MiB to 1TiB"},
		{"cache.bytes", "99999999999TiB", "1MiB to 1TiB"},
		{"batch.items", "101", "1 to 100"},
		{"batch.concurrency", "0", "1 to 100"},
		{"pool.workers", "0", "1 to 65536"},
		{"pool.queue", "x", "1 to 1048576"},
		{"pool.bytes", "", "1MiB to 1TiB"},
		{"stream.name", "a.b", "A-Z a-z 0-9 - _"},
		{"stream.replicas", "2", "one of [1 3 5]"},
		{"store.replicas", "2", "one of [1 3 5]"},
		{"store.bucket", "a.b", "A-Z a-z 0-9 - _"},
		{"stream.max_age", "1s", "1m to 8760h"},
		{"stream.max_bytes", "-5MiB", "1MiB to 100TiB"},
		{"expiry.interval", "999ms", "1s to 24h, or 0s"},
		{"expiry.interval", "-1s", "1s to 24h, or 0s"},
		{"expiry.interval", "7d", "a time with its unit"},
		{"expiry.ahead", "7d", "such as 168h or 24h"},
		{"expiry.ahead", "24h,", "such as 168h or 24h"},
		{"expiry.ahead", "0s", "more than 0s"},
		{"expiry.ahead", "24h,-1h", "more than 0s"},
		{"expiry.ahead", "8761h", "at most 8760h"},
		{"expiry.ahead", "1h,2h,3h,4h,5h,6h,7h,8h,9h,10h,11h", "up to 10 times"},
		{"shutdown.timeout", "2h", "0s to 1h"},
	}
	for _, test := range tests {
		t.Run(test.key+" "+test.text, func(t *testing.T) {
			shown := ` is "` + test.text + `": `
			if settings.of(test.key).kind.name == addressName {
				shown = " is " + test.text + ": "
			}
			_, err := load(t, []string{"--" + test.key + "=" + test.text})
			wantProblems(t, err, "--"+strings.ReplaceAll(test.key, "_", "-")+shown, test.allowed)
			if test.text == "" {
				return // an empty variable is one that is not set
			}
			variable := settings.of(test.key).variable()
			_, err = load(t, nil, variable+"="+test.text)
			wantProblems(t, err, variable+shown, test.allowed)
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	file := writeYAML(t, "cache:\n  ttl: soon\n  entrys: 5\nnats:\n  creds: /x\n")
	_, err := load(t, []string{"--config", file, "--batch.items", "0"}, "CREDBUS_POOL_WORKERS=none", "CREDBUS_POOL_WORKER=1", "CREDBUS_NATS_USER=me")
	wantProblems(t, err,
		`cache.ttl in `+file+` is "soon"`, `cache.entrys in `+file+` is not a setting: did you mean cache.entries?`,
		`--batch.items is "0"`, `CREDBUS_POOL_WORKERS is "none"`, `CREDBUS_POOL_WORKER is not a setting: did you mean CREDBUS_POOL_WORKERS?`,
		`nats.creds in `+file+` is set, but there is no server`, `CREDBUS_NATS_USER is set, but there is no server`)
	if n := strings.Count(err.Error(), "\n") + 1; n != 7 {
		t.Errorf("%d problems, want 7:\n%v", n, err)
	}
}

func TestUnknownNames(t *testing.T) {
	for name, test := range map[string]struct{ yaml, variable, want string }{
		"key":             {yaml: "cache: {tll: 5m}", want: "did you mean cache.ttl?"},
		"without group":   {yaml: "port: 4333", want: "did you mean nats.port?"},
		"nothing near":    {yaml: "kubernetes: {namespace: x}", want: "kubernetes.namespace in"},
		"empty group":     {yaml: "kubernetes:", want: "kubernetes in"},
		"group is value":  {yaml: "nats: nats://host", want: "it is a group of settings, such as nats.url"},
		"below a setting": {yaml: "data_dir: {x: 1}", want: "data_dir.x in"},
		"number as text":  {yaml: "nats: {password: 0123}", want: "is [redacted]: must be a text: put it in quotes"},
		"list":            {yaml: "data_dir: [x]", want: "must be a single value"},
		"variable":        {variable: "CREDBUS_CACHE_TLL=5m", want: "CREDBUS_CACHE_TLL is not a setting: did you mean CREDBUS_CACHE_TTL?"},
		"variable short":  {variable: "CREDBUS_URL=x", want: "did you mean CREDBUS_NATS_URL?"},
		"variable far":    {variable: "CREDBUS_XYZZY=5m", want: "CREDBUS_XYZZY is not a setting: --help lists them all"},
	} {
		t.Run(name, func(t *testing.T) {
			var args []string
			if test.yaml != "" {
				args = []string{"--config", writeYAML(t, test.yaml)}
			}
			var environ []string
			if test.variable != "" {
				environ = []string{test.variable}
			}
			_, err := load(t, args, environ...)
			wantProblems(t, err, test.want)
		})
	}
	// Flags and variables of others are allowed.
	mustLoad(t, []string{"--other"}, "NATS_TIMEOUT=5s", "CREDBUS_TEST_AWS_ENDPOINT=x", "CREDBUS_REQUIRE_DOCKER=1", "CREDBUS_REQUIRE_MOUNT=1",
		"CREDBUS_SERVICE_HOST=10.0.0.1", "CREDBUS_SERVICE_PORT_METRICS=80", "CREDBUS_PORT=tcp://10.0.0.1:80", "CREDBUS_PORT_80_TCP_ADDR=10.0.0.1",
		"CREDBUSX=1")

	for _, variable := range variables(t) {
		if _, err := load(t, nil, variable+"=x"); err != nil && strings.Contains(err.Error(), "is not a setting") {
			t.Errorf("%s is read somewhere, and a worker that inherits it does not start: %v", variable, err)
		}
	}

	// A failpoint that does nothing would look like one that was passed.
	_, err := load(t, nil, "CREDBUS_FAILPOINT_X=1")
	if failpoints && err != nil {
		t.Error(err)
	} else if !failpoints {
		wantProblems(t, err, "CREDBUS_FAILPOINT_X is not a setting")
	}
}

func TestFileErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	_, err := load(t, []string{"--config", missing})
	wantProblems(t, err, missing, "--config (CREDBUS_CONFIG)")
	for name, content := range map[string]string{
		"not a mapping": secret,
		"bad syntax":    "nats:\n  password: \"" + secret + "\n",
		"twice":         "nats: {password: " + secret + "}\nnats: {password: x}\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := writeYAML(t, content)
			_, err := load(t, []string{"--config", file})
			wantProblems(t, err, "configuration file "+file, "yaml: ")
		})
	}
}

func TestContradictions(t *testing.T) {
	for name, test := range map[string]struct {
		args    []string
		environ []string
		want    string
	}{
		"creds, no server":        {[]string{"--nats.creds", "/x"}, nil, "--nats.creds is set, but there is no server to use it with: set nats.url or nats.context"},
		"password, no server":     {nil, []string{"CREDBUS_NATS_PASSWORD=" + secret}, "CREDBUS_NATS_PASSWORD is set, but there is no server"},
		"ca, no server":           {nil, []string{"CREDBUS_NATS_TLS_CA=/x"}, "CREDBUS_NATS_TLS_CA is set, but there is no server"},
		"copies, no cluster":      {[]string{"--store.type=jetstream", "--store.replicas=3"}, nil, "--store.replicas is 3, but the embedded server is a single one"},
		"one stream for two":      {[]string{"--store.type=jetstream", "--stream.name=KV_CREDBUS_CREDENTIALS"}, nil, "--stream.name is KV_CREDBUS_CREDENTIALS, which is the stream of the bucket"},
		"replicas, no cluster":    {[]string{"--stream.replicas=3"}, nil, "--stream.replicas is 3, but the embedded server is a single one"},
		"port, but joined":        {[]string{"--nats.port", "4333"}, []string{"NATS_URL=nats://host"}, "--nats.port is for the embedded server, which does not run because NATS_URL joins another"},
		"host, but joined":        {[]string{"--nats.host", "0.0.0.0", "--nats.context", "prod"}, nil, "because --nats.context joins another"},
		"two identities":          {[]string{"--nats.url", "nats://host", "--nats.creds", "/x"}, []string{"NATS_USER=me", "NATS_PASSWORD=" + secret}, "NATS_USER and --nats.creds are given: a connection has one identity"},
		"password without user":   {[]string{"--nats.url", "nats://host"}, []string{"NATS_PASSWORD=" + secret}, "NATS_PASSWORD is set without nats.user"},
		"certificate without key": {[]string{"--nats.url", "nats://host", "--nats.tls.cert", "/x"}, nil, "needs both nats.tls.cert and nats.tls.key"},
		"required, no audit":      {[]string{"--audit.required"}, nil, "--audit.required is set, but nothing is recorded"},
		"sync of a stream":        {[]string{"--audit.level=all", "--audit.sink=stream", "--audit.sync"}, nil, "--audit.sync is set, but records go into a stream"},
		"stale, no cache":         {[]string{"--cache.enabled=false", "--cache.stale_on_outage=1h"}, nil, "--cache.stale-on-outage is set, but nothing is cached"},
		"jobs forgotten":          {[]string{"--jobs.ack_wait=1h", "--jobs.keep=1m"}, nil, "--jobs.keep is 1m, which is not longer than jobs.ack_wait (1h)"},
		"stale within the TTL":    {[]string{"--cache.stale_on_outage=5m"}, nil, "--cache.stale-on-outage is 5m, which is not longer than cache.ttl (5m)"},
		"inbox over commands":     {[]string{"--nats.inbox_prefixes", "_INBOX,cred"}, nil, `--nats.inbox-prefixes has "cred", which overlaps nats.prefix "cred.v1"`},
		"inbox below commands":    {[]string{"--nats.inbox_prefixes", "cred.v1.x"}, nil, "must not reach"},
		"secret in a bad address": {nil, []string{"NATS_URL=nats://me:" + secret + "%zz@host"}, "NATS_URL is [an address that is not shown"},
		"secret in another":       {nil, []string{"NATS_URL=http://me:" + secret + "@host"}, "NATS_URL is http://host: must be"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.args, test.environ...)
			wantProblems(t, err, test.want)
		})
	}
	mustLoad(t, []string{"--nats.url", "nats://host", "--nats.port", "4222"}) // as WriteYAML prints it
	mustLoad(t, []string{"--nats.inbox_prefixes", "credentials,_INBOX"})      // shares letters, not tokens
}

func TestCheckByHand(t *testing.T) {
	c := &Config{NATS: NATS{Prefix: "cred.v1", InboxPrefixes: []string{"cred"}}}
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "nats.inbox_prefixes has") {
		t.Errorf("error is %v", err)
	}
}

func TestNoHome(t *testing.T) {
	_, err := Load(nil, nil)
	wantProblems(t, err, "no home directory", "--data-dir (CREDBUS_DATA_DIR)")
	if _, err := Load(nil, []string{"CREDBUS_DATA_DIR=/data"}); err != nil {
		t.Error("with a data_dir:", err)
	}
	_, err = Load(nil, []string{"CREDBUS_DATA_DIR=~/x"})
	wantProblems(t, err, `CREDBUS_DATA_DIR is "~/x"`, "in full")
}

func TestFlags(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	Flags(flags)
	usage := flags.FlagUsages()
	for _, line := range []string{"--nats.port number", "(default 4222)", "--store.dir path", "credentials under --data-dir", "--cache.bytes size", "--config string"} {
		if !strings.Contains(usage, line) {
			t.Errorf("usage lacks %q:\n%s", line, usage)
		}
	}
	if err := flags.Parse([]string{"--cache.enabled"}); err != nil {
		t.Errorf("a bool flag needs a value: %v", err)
	}
	if err := flags.Parse([]string{"--nats.prot", "1"}); !errors.As(err, new(*pflag.NotExistError)) {
		t.Errorf("unknown flag: %v", err)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "1": 1, "1B": 1, "1KiB": 1024, "1kB": 1000, "1KB": 1000, "1.5MiB": -1, "64MiB": 64 << 20, "64 MiB": 64 << 20,
		"1MB": 1e6, "2GiB": 2 << 30, "3TiB": 3 << 40, "MiB": -1, "": -1, "-1": -1, "9223372036854775807": 1<<63 - 1, "9007199254740992KiB": -1,
	} {
		got, ok := parseBytes(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("parseBytes(%q) = %d, %v, want %d", text, got, ok, want)
		}
		if ok {
			if again, ok := parseBytes(got.String()); !ok || again != got {
				t.Errorf("%d prints as %v, which reads as %d", got, got, again)
			}
		}
	}
}

// variables are the CREDBUS_ variables that the programs, the tests and the checks of this
// project use. A worker may inherit any of them.
func variables(t *testing.T) (names []string) {
	t.Helper()
	out, err := exec.Command("git", "grep", "-ohE", `(etenv|EnvVar)\("CREDBUS_[A-Z_]+"|export CREDBUS_[A-Z_]+=`, "--", ":/").Output()
	if err != nil {
		t.Fatalf("git grep: %v", err)
	}
	for _, name := range regexp.MustCompile("CREDBUS_[A-Z_]+").FindAllString(string(out), -1) {
		if !slices.Contains(names, name) && !strings.HasPrefix(name, "CREDBUS_FAILPOINT_") {
			names = append(names, name)
		}
	}
	if len(names) < 5 {
		t.Fatalf("only %v were found", names)
	}
	return names
}
