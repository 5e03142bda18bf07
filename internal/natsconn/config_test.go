package natsconn_test

import (
	"testing"

	"credbus/internal/natsconn"
)

func TestWithEnviron(t *testing.T) {
	all := map[string]string{
		"NATS_URL": "nats://env", "NATS_CONTEXT": "env", "NATS_USER": "env-user", "NATS_PASSWORD": "env-password",
		"NATS_CREDS": "env.creds", "NATS_NKEY": "env.nk", "NATS_TOKEN": "env-token",
		"NATS_CA": "ca", "NATS_CERT": "cert", "NATS_KEY": "key",
	}
	everything := natsconn.Config{
		URL: "nats://env", Context: "env", User: "env-user", Password: "env-password",
		Creds: "env.creds", NKey: "env.nk", Token: "env-token",
		TLS: natsconn.TLS{CA: "ca", Cert: "cert", Key: "key"},
	}
	if got := (natsconn.Config{}).WithEnviron(func(name string) string { return all[name] }); got != everything {
		t.Errorf("got %+v", got)
	}
	if got := everything.WithEnviron(func(string) string { return "other" }); got != everything {
		t.Errorf("the environment replaced a setting: %+v", got)
	}

	env := map[string]string{"NATS_USER": "env-user", "NATS_PASSWORD": "env-password", "NATS_CREDS": "env.creds"}
	for name, test := range map[string]struct{ config, want natsconn.Config }{
		"user keeps its kind": {natsconn.Config{User: "me"}, natsconn.Config{User: "me", Password: "env-password"}},
		"creds replace":       {natsconn.Config{Creds: "my.creds"}, natsconn.Config{Creds: "my.creds"}},
		"nkey replaces":       {natsconn.Config{NKey: "my.nk"}, natsconn.Config{NKey: "my.nk"}},
		"token replaces":      {natsconn.Config{Token: "mine"}, natsconn.Config{Token: "mine"}},
	} {
		if got := test.config.WithEnviron(func(name string) string { return env[name] }); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestRedactURL(t *testing.T) {
	const hidden = "[an address that is not shown, as it may hold a password]"
	for address, want := range map[string]string{
		"":                                   "",
		"nats://host:4222":                   "nats://host:4222",
		"host":                               "host",
		"nats://user:pass@host:4222":         "nats://host:4222",
		"tls://token@host":                   "tls://host",
		"nats://u:p@one:1, nats://u:p@two:2": "nats://one:1,nats://two:2",
		"nats://u:p@one,nats://two":          "nats://one,nats://two",
		"nats://u:pa/ss@host":                hidden,
		"nats://u:12/ss@host":                hidden,
		"nats://u:12?ss@host":                hidden,
		"nats://u:12#ss@host":                hidden,
		"nats://u:12,ss@host":                hidden,
		"nats://u:%zz@host":                  hidden,
		"user:pass@host":                     hidden,
		"user@host":                          hidden,
	} {
		if got := natsconn.RedactURL(address); got != want {
			t.Errorf("RedactURL(%q) = %q, want %q", address, got, want)
		}
	}
}
