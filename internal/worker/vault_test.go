package worker

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/testbed"
	"credbus/subjects"
)

// A worker keeps one scope in Vault, where others read and write it. If Vault
// is killed, the worker reports the outage, which does not affect other scopes
// and ends when Vault is back.
func TestScopeInVault(t *testing.T) {
	server := testbed.Start(t, "vault")
	settings := withFile(t, `
store: {routes: [org:acme=vault], breaker_failures: 2, breaker_delay: 100ms, retry_backoff: 1ms, read_timeout: 1s}
cache: {ttl: 1ms, negative_ttl: 0s}
stores:
  vault:
    type: vault
    form: native
    vault: {address: "`+server.Fact("address")+`", token: "`+server.Fact("token")+`"}
`)
	b := startHealthy(t, t.TempDir(), settings)
	b.put(t, "org:acme/team:eng", "db", "of Vault")
	b.put(t, "org:other", "db", "of files")

	client, err := api.NewClient(&api.Config{Address: server.Fact("address")})
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(server.Fact("token"))
	secrets := client.KVv2("secret")
	const path = "credbus/org:acme/team:eng/db"
	if secret, err := secrets.Get(t.Context(), path); err != nil || secret.Data[subjects.ValueName] != "of Vault" {
		t.Fatalf("another program does not read the value: %v", err)
	}
	if _, err := secrets.Put(t.Context(), path, map[string]any{subjects.ValueName: "of another"}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the value of another program", func() bool {
		value, told := b.get(t, "org:acme/team:eng", "db")
		return told == nil && value == "of another"
	})

	server.Kill()
	begun := time.Now()
	for range 2 {
		_, told := b.get(t, "org:acme/team:eng", "db")
		wantCode(t, told, subjects.StorageUnavailable)
	}
	problems := b.becomes(t, false, 5*time.Second)
	if len(problems) != 1 || problems[0].Part != "store" || problems[0].Name != "vault" {
		t.Errorf("the problems are %+v", problems)
	}
	t.Logf("reported %s after the kill", time.Since(begun).Round(time.Millisecond))
	if value, told := b.get(t, "org:other", "db"); told != nil || value != "of files" {
		t.Errorf("a scope of another store: %q, %v", value, told)
	}
	server.Restart(t)
	b.becomes(t, true, 10*time.Second)
	if value, told := b.get(t, "org:acme/team:eng", "db"); told != nil || value != "of another" {
		t.Errorf("after the outage: %q, %v", value, told)
	}
}
