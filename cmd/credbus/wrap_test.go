package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"credbus/internal/seal"
	"credbus/internal/testbed"
)

// A real Vault wraps a keyring. It is edited while it is wrapped, and then
// unwrapped.
func TestWrap(t *testing.T) {
	server := testbed.Shared(t, "vault")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Fact("address")+"/v1/transit/keys/command-line", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Vault-Token", server.Fact("token"))
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	t.Setenv("VAULT_ADDR", server.Fact("address"))
	t.Setenv("VAULT_TOKEN", server.Fact("token"))
	t.Setenv("CREDBUS_KEYRING_WRAP", strings.Replace(server.Fact("address"), "http://", "hcvault://", 1)+"/transit/keys/command-line")

	dir := t.TempDir()
	path := filepath.Join(dir, "keyring.json")
	before, err := seal.CreateKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	run := func(want int, says string, args ...string) {
		t.Helper()
		out, err := os.Create(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		p := &program{stdin: os.Stdin, stdout: out, stderr: out}
		got := p.run(t.Context(), append(args, "--keyring", path))
		text, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got != want || !strings.Contains(string(text), says) {
			t.Errorf("%s: %d: %s", args, got, text)
		}
	}
	run(exitOther, "is in clear, and a key service is named", "keys", "add")
	run(exitOther, "is in clear, and a key service is named", "keys", "unwrap")
	run(exitOK, "is wrapped: start the workers with keyring.wrap", "keys", "wrap")
	if _, err := seal.OpenKeyring(path); err == nil || !strings.Contains(err.Error(), "is wrapped by a key service") {
		t.Errorf("in clear: %v", err)
	}
	run(exitOther, "is wrapped already: to wrap it with another key, run credbus keys unwrap first", "keys", "wrap")
	run(exitOK, "copy the file to every worker", "keys", "add")
	run(exitOK, "is in clear: start the workers without", "keys", "unwrap")
	after, err := seal.OpenKeyring(path)
	if err != nil || len(after.Keys()) != 2 || after.PrimaryID() != before.PrimaryID() {
		t.Errorf("%v, %v", after, err)
	}
}
