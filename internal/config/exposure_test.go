package config

import (
	"slices"
	"strings"
	"testing"
)

func TestExposures(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string // the setting, "" for none
	}{
		"default":            {nil, ""},
		"all addresses":      {[]string{"--nats.host", "0.0.0.0"}, "nats.host"},
		"all IPv6 addresses": {[]string{"--nats.host", "::"}, "nats.host"},
		"localhost":          {[]string{"--nats.host", "localhost"}, ""},
		"IPv6 loopback":      {[]string{"--nats.host", "::1"}, ""},
		"joined":             {[]string{"--nats.url", "nats://host"}, ""},
		"vault":              {[]string{"--store.type", "vault", "--store.vault.token", "x", "--store.vault.address", "http://vault:8200"}, "store.vault.address"},
		"vault with TLS":     {[]string{"--store.type", "vault", "--store.vault.token", "x", "--store.vault.address", "https://vault:8200"}, ""},
		"vault here":         {[]string{"--store.type", "vault", "--store.vault.token", "x", "--store.vault.address", "http://127.0.0.1:8200"}, ""},
		"vault not used":     {[]string{"--store.vault.address", "http://vault:8200"}, ""},
		"aws":                {[]string{"--store.type", "aws", "--store.aws.endpoint", "http://aws.example"}, "store.aws.endpoint"},
		"sts":                {[]string{"--store.type", "aws", "--store.aws.role", "arn:aws:iam::1:role/x", "--store.aws.sts_endpoint", "http://aws.example"}, "store.aws.sts_endpoint"},
		"another store":      {[]string{"--config", writeYAML(t, "stores:\n  eu: {type: vault, vault: {address: 'http://vault:8200', token: x}}\n")}, "stores.eu.vault.address"},
	} {
		found := mustLoad(t, test.args).Exposures()
		switch {
		case test.want == "" && len(found) > 0:
			t.Errorf("%s: %v", name, found)
		case test.want != "" && (len(found) != 1 || found[0].Setting != test.want):
			t.Errorf("%s: %v, want %s", name, found, test.want)
		}
		_, err := load(t, append(test.args, "--security.require_tls"))
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "-", "_"), test.want) || !strings.Contains(err.Error(), "security.require_tls refuses")):
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// The variables of the nats command do not apply to a server that the worker runs itself.
func TestVariablesOfOthersBesideTheEmbeddedServer(t *testing.T) {
	c, err := load(t, nil, "NATS_USER=me", "NATS_PASSWORD=x", "NATS_CREDS=/none", "NATS_CA=/none", "NATS_CERT=/none")
	if err != nil {
		t.Fatal(err)
	}
	if !c.NATS.Embedded() {
		t.Error("it joins another server")
	}
}

func TestSecretFlags(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		env  []string
		want []string
	}{
		"none":            {nil, nil, nil},
		"password":        {[]string{"--nats.url", "nats://h", "--nats.user", "me", "--nats.password", "x"}, nil, []string{"--nats.password"}},
		"by a variable":   {[]string{"--nats.url", "nats://h", "--nats.user", "me"}, []string{"NATS_PASSWORD=x"}, nil},
		"token":           {[]string{"--nats.url", "nats://h", "--nats.token", "x"}, nil, []string{"--nats.token"}},
		"user is a token": {[]string{"--nats.url", "nats://h", "--nats.user", "x"}, nil, []string{"--nats.user"}},
		"in the address":  {[]string{"--nats.url", "nats://me:x@h"}, nil, []string{"--nats.url"}},
		"vault":           {[]string{"--store.type", "vault", "--store.vault.token", "x", "--store.vault.address", "https://h"}, nil, []string{"--store.vault.token"}},
		"in the file":     {[]string{"--config", writeYAML(t, "nats: {url: nats://h, token: x}\n")}, nil, nil},
	} {
		c, err := load(t, test.args, test.env...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := c.SecretFlags(); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
