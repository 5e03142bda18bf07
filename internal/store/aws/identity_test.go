package aws_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"credbus/internal/store/aws"
	"credbus/internal/store/aws/awstest"
	"credbus/internal/testbed"
)

// identityOf opens another store, like another worker.
func identityOf(t *testing.T, config aws.Config) string {
	t.Helper()
	text, err := open(t, config).Identity(t.Context())
	must(t, err)
	if len(text) > 255 {
		t.Errorf("%d bytes: %s", len(text), text)
	}
	return text
}

// The identity must be the same whether STS or the ARN of a secret shows the
// account.
func TestIdentityFromSTSOrASecret(t *testing.T) {
	b := newBed(t)
	want := "aws:aws:eu-central-1:123456789012:" + strings.TrimPrefix(b.url, "http://") + ":credbus"
	byUser := identityOf(t, b.config())
	if byUser != want {
		t.Errorf("%q, want %q", byUser, want)
	}
	assumed := b.config()
	assumed.Profile, assumed.Role = admin, b.AddRole("credbus", "", leastPolicy(t))
	if byRole := identityOf(t, assumed); byRole != want {
		t.Errorf("%q for a role", byRole)
	}
	b.Fail("GetCallerIdentity", -1, awstest.Answer(503, "text/html", "not here"))
	put(t, open(t, b.config()), newRecord("org:acme", "key", "1"))
	if bySecret := identityOf(t, b.config()); bySecret != want {
		t.Errorf("%q by the ARN of a secret", bySecret)
	}
	another := b.config()
	another.Prefix = "credbus/staging" // has no secret, and may be read by the policy
	if text := identityOf(t, another); text != "" {
		t.Errorf("%q although nothing shows the account", text)
	}
}

// Without STS and without a secret, a store starts and has no identity. It logs the
// setting once. An identity that it found stays known.
func TestIdentityWithoutSTS(t *testing.T) {
	b := newBed(t)
	var log bytes.Buffer
	config := b.config()
	config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	b.Fail("GetCallerIdentity", -1, awstest.Hang())
	s := open(t, config)
	for range 2 {
		var text string
		var err error
		testbed.Prompt(t, 2*time.Second, func() { text, err = s.Identity(t.Context()) })
		if err != nil || text != "" {
			t.Errorf("%q, %v", text, err)
		}
	}
	if n := strings.Count(log.String(), "store.aws.sts_endpoint"); n != 1 {
		t.Errorf("the setting is named %d times: %s", n, log.String())
	}
	b.Fail("GetCallerIdentity", 0, awstest.Hang())
	known, err := s.Identity(t.Context())
	if err != nil || known == "" {
		t.Fatalf("%q, %v", known, err)
	}
	b.Fail("GetCallerIdentity", -1, awstest.Answer(503, "text/html", "not here"))
	if text, err := s.Identity(t.Context()); err != nil || text != known {
		t.Errorf("%q, %v; want the known identity, %q", text, err, known)
	}
}

// Each prefix is a place of its own, even if prefixes are long and differ only at
// the end.
func TestIdentityOfPrefixes(t *testing.T) {
	b := newBed(t)
	seen := make(map[string]bool)
	for _, prefix := range []string{"credbus", "other", strings.Repeat("p", 199) + "1", strings.Repeat("p", 199) + "2"} {
		config := b.config()
		config.Profile, config.Prefix = admin, prefix
		seen[identityOf(t, config)] = true
	}
	if len(seen) != 4 || seen[""] {
		t.Errorf("%d identities of 4 prefixes: %v", len(seen), seen)
	}
}
