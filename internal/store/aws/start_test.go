package aws_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/aws"
	"credbus/internal/store/aws/awstest"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// refusedStart is a configuration that New refuses, and what the error says.
type refusedStart struct {
	name   string
	change func(t *testing.T, b *bed, c *aws.Config)
	is     error // nil: any
	says   []string
}

var refusedStarts = []refusedStart{
	{"no region", func(_ *testing.T, _ *bed, c *aws.Config) { c.Region = "" }, nil, []string{"store.aws.region"}},
	{"prefix with a colon", func(_ *testing.T, _ *bed, c *aws.Config) { c.Prefix = "a:b" }, nil, []string{"store.aws.prefix"}},
	{"prefix with an equals sign", func(_ *testing.T, _ *bed, c *aws.Config) { c.Prefix = "credbus/org=acme" }, nil, []string{"store.aws.prefix"}},
	{"prefix with a slash at its end", func(_ *testing.T, _ *bed, c *aws.Config) { c.Prefix = "credbus/" }, nil, []string{"store.aws.prefix"}},
	{"long prefix", func(_ *testing.T, _ *bed, c *aws.Config) { c.Prefix = strings.Repeat("p", 201) }, nil, []string{"store.aws.prefix", "200"}},
	{"six recovery days", func(_ *testing.T, _ *bed, c *aws.Config) { c.RecoveryDays = 6 }, nil, []string{"store.aws.recovery_days", "7 to 30"}},
	{"both recovery days and force delete", func(_ *testing.T, _ *bed, c *aws.Config) { c.RecoveryDays, c.ForceDelete = 7, true }, nil, []string{"store.aws.recovery_days", "store.aws.force_delete"}},
	{"external id alone", func(_ *testing.T, _ *bed, c *aws.Config) { c.ExternalID = "x" }, nil, []string{"store.aws.external_id", "store.aws.role"}},
	{"unknown profile", func(_ *testing.T, _ *bed, c *aws.Config) { c.Profile = "unheard-of" }, nil, []string{"store.aws.profile", "unheard-of"}},
	{"no credentials", func(_ *testing.T, _ *bed, c *aws.Config) { c.Profile = forgetful }, store.ErrPermission, []string{"no AWS credentials", "store.aws.profile", "AWS_ACCESS_KEY_ID"}},
	{"unknown credentials", func(_ *testing.T, _ *bed, c *aws.Config) { c.Profile = nobody }, store.ErrPermission, []string{"UnrecognizedClientException", "renew", "store.aws.profile"}},
	{"expired credentials", func(_ *testing.T, b *bed, _ *aws.Config) { b.Expire(worker) }, store.ErrPermission, []string{"ExpiredTokenException", "renew"}},
	{"other region", func(_ *testing.T, _ *bed, c *aws.Config) { c.Region = "us-east-1" }, store.ErrPermission, []string{"InvalidSignatureException", "store.aws.region: us-east-1"}},
	{"may not list", func(t *testing.T, b *bed, _ *aws.Config) { b.AddUser(worker, without(t, "secretsmanager:ListSecrets")) },
		store.ErrPermission, []string{"allow secretsmanager:ListSecrets on resource *"}},
	{"may not read", func(t *testing.T, b *bed, _ *aws.Config) {
		b.AddUser(worker, without(t, "secretsmanager:GetSecretValue"))
	},
		store.ErrPermission, []string{"allow secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-central-1:*:secret:credbus/*"}},
	{"may not read batches", func(t *testing.T, b *bed, _ *aws.Config) {
		b.AddUser(worker, without(t, "secretsmanager:BatchGetSecretValue"))
	}, store.ErrPermission, []string{"allow secretsmanager:BatchGetSecretValue on resource *"}},
	{"may not describe", func(t *testing.T, b *bed, c *aws.Config) {
		b.AddUser(worker, without(t, "secretsmanager:DescribeSecret"))
		c.Native = true
	}, store.ErrPermission, []string{"allow secretsmanager:DescribeSecret on arn:aws:secretsmanager:eu-central-1:*:secret:credbus/*"}},
	{"may not read this prefix", func(_ *testing.T, _ *bed, c *aws.Config) { c.Prefix = "other/prefix" },
		store.ErrPermission, []string{"allow secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-central-1:*:secret:other/prefix/*"}},
	{"closed port", func(t *testing.T, _ *bed, c *aws.Config) { c.Endpoint = "http://" + closedPort(t) }, store.ErrUnavailable, []string{"store.aws.endpoint"}},
	{"no address", func(_ *testing.T, _ *bed, c *aws.Config) { c.Endpoint = "localhost" }, nil, []string{"store.aws.endpoint: localhost"}},
	{"hanging", func(_ *testing.T, b *bed, _ *aws.Config) { b.Fail("GetSecretValue", -1, awstest.Hang()) }, context.DeadlineExceeded,
		[]string{"store.aws.endpoint", "did not answer", "reachable"}},
	{"another server", func(_ *testing.T, b *bed, _ *aws.Config) {
		b.Fail("ListSecrets", -1, awstest.Answer(200, "text/html", "<html>hello</html>"))
	}, store.ErrUnavailable, []string{"store.aws.endpoint", "not from"}},
	{"unknown role", func(_ *testing.T, _ *bed, c *aws.Config) { c.Role = "arn:aws:iam::123456789012:role/unknown" },
		store.ErrPermission, []string{"store.aws.role", "allow sts:AssumeRole on arn:aws:iam::123456789012:role/unknown", "trust policy"}},
	{"role with another external id", func(t *testing.T, b *bed, c *aws.Config) {
		c.Role, c.ExternalID = b.AddRole("credbus", "expected", leastPolicy(t)), "sent"
	}, store.ErrPermission, []string{"sts:AssumeRole", "store.aws.external_id"}},
	{"hanging token service", func(t *testing.T, b *bed, c *aws.Config) {
		c.Profile, c.Role = admin, b.AddRole("credbus", "", leastPolicy(t))
		b.Fail("AssumeRole", -1, awstest.Hang())
	}, context.DeadlineExceeded, []string{"store.aws.role"}},
}

func TestRefusedStarts(t *testing.T) {
	for _, start := range refusedStarts {
		t.Run(start.name, func(t *testing.T) {
			b := newBed(t)
			config := b.config()
			start.change(t, b, &config)
			var err error
			testbed.Prompt(t, 2*time.Second, func() {
				var s *aws.Store
				if s, err = aws.New(t.Context(), config); err == nil {
					s.Close(t.Context())
				}
			})
			if err == nil {
				t.Fatal("New accepts it")
			}
			if start.is != nil && !errors.Is(err, start.is) {
				t.Errorf("%v, want %q", err, start.is)
			}
			for _, word := range start.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error without %q: %v", word, err)
				}
			}
		})
	}
}

func closedPort(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, listener.Close())
	return listener.Addr().String()
}

func leastPolicy(t *testing.T) []byte {
	t.Helper()
	policy, err := os.ReadFile(policyFile)
	must(t, err)
	return policy
}

// without returns the least policy without one of its actions.
func without(t *testing.T, action string) []byte {
	t.Helper()
	var p struct {
		Statement []struct {
			Effect   string
			Action   []string
			Resource string
		}
	}
	must(t, json.Unmarshal(leastPolicy(t), &p))
	for i := range p.Statement {
		p.Statement[i].Action = slices.DeleteFunc(p.Statement[i].Action, func(a string) bool { return a == action })
	}
	shorter, err := json.Marshal(p)
	must(t, err)
	return shorter
}

// Each action of the policy is needed, and the error names the missing one.
func TestMissingPermissions(t *testing.T) {
	there := newRecord("org:acme", "there", "1")
	for action, do := range map[string]func(s *aws.Store) error{
		"CreateSecret": func(s *aws.Store) error {
			_, err := s.Put(t.Context(), newRecord("org:acme", "new", "2"), store.Precondition{})
			return err
		},
		"UpdateSecret": func(s *aws.Store) error {
			_, err := s.Put(t.Context(), newRecord("org:acme", "there", "3"), store.Precondition{})
			return err
		},
		"RestoreSecret": func(s *aws.Store) error {
			_, err := s.Put(t.Context(), newRecord("org:acme", "gone", "4"), store.Precondition{})
			return err
		},
		"DescribeSecret": func(s *aws.Store) error {
			_, err := s.Put(t.Context(), newRecord("org:acme", "there", "5"), store.Precondition{})
			return err
		},
		"DeleteSecret":   func(s *aws.Store) error { return s.Delete(t.Context(), there.Target, store.Precondition{}) },
		"GetSecretValue": func(s *aws.Store) error { _, err := s.Get(t.Context(), there.Target); return err },
		"ListSecrets":    func(s *aws.Store) error { _, err := s.List(t.Context(), store.ListOptions{}); return err },
		"BatchGetSecretValue": func(s *aws.Store) error {
			_, err := s.GetMulti(t.Context(), []subjects.Target{there.Target})
			return err
		},
	} {
		t.Run(action, func(t *testing.T) {
			b := newBed(t)
			s := open(t, b.config())
			put(t, s, there)
			gone := newRecord("org:acme", "gone", "1")
			put(t, s, gone)
			must(t, s.Delete(t.Context(), gone.Target, store.Precondition{}))
			b.AddUser(worker, without(t, "secretsmanager:"+action))
			err := do(s)
			if !errors.Is(err, store.ErrPermission) || !strings.Contains(err.Error(), "allow secretsmanager:"+action+" on ") {
				t.Errorf("%v, want ErrPermission that names secretsmanager:%s", err, action)
			}
			b.AddUser(worker, leastPolicy(t))
			if err := do(s); err != nil && (action != "DeleteSecret" || !errors.Is(err, store.ErrNotFound)) { // the first call did half of it
				t.Errorf("with the policy: %v", err)
			}
		})
	}
}

func TestRole(t *testing.T) {
	b := newBed(t)
	config := b.config()
	config.Profile = admin
	config.Role, config.ExternalID = b.AddRole("credbus", "their-id", leastPolicy(t)), "their-id"
	s := open(t, config)
	rec := newRecord("org:acme", "key", "1")
	put(t, s, rec)
	if n := b.Calls("AssumeRole"); n != 1 {
		t.Errorf("the role was assumed %d times, want once", n)
	}
	// Credentials that AWS ends early are renewed for the next call.
	b.Expire("")
	if _, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrPermission) {
		t.Errorf("with ended credentials: %v, want ErrPermission", err)
	}
	get(t, s, rec.Target)
	if n := b.Calls("AssumeRole"); n != 2 {
		t.Errorf("the role was assumed %d times, want twice", n)
	}
}

// Missing settings come from the same places as for the AWS command line.
func TestEnvironment(t *testing.T) {
	b := newBed(t)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": b.url, "AWS_REGION": awstest.Region, "AWS_ACCESS_KEY_ID": worker, "AWS_SECRET_ACCESS_KEY": "secret-key-of-as-many-characters-as-real",
	} {
		t.Setenv(name, value)
	}
	b.AddUser(worker, awstest.Administrator)
	s := open(t, aws.Config{Role: b.AddRole("credbus", "", leastPolicy(t))})
	put(t, s, newRecord("org:acme", "key", "1"))
	if b.VersionsOf("credbus/org=acme/key") != 1 {
		t.Error("the record is not at the server of AWS_ENDPOINT_URL")
	}
}
