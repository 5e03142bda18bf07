package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A start that is refused leaves no store and no keyring: a later start would go on with
// them.
func TestRefusedStartLeavesNothing(t *testing.T) {
	_, taken := listen(t)
	running := start(t, filepath.Join(t.TempDir(), "data"), freePort(t))
	joined := []string{"--nats.context", filepath.Join(running.dir, "worker.json")}
	odd := filepath.Join(t.TempDir(), "keyring.json")
	if err := os.WriteFile(odd, []byte("no keyring"), 0o600); err != nil {
		t.Fatal(err)
	}
	stores := filepath.Join(t.TempDir(), "worker.yaml")
	unreachable := fmt.Sprintf("stores: {eu: {type: vault, vault: {address: 'http://127.0.0.1:%s', token: x}}}\n", freePort(t))
	if err := os.WriteFile(stores, []byte(unreachable), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"another deployment":           {joined, "keyring.file: the deployment has keys"},
		"another store":                {append(joined, "--keyring.file", filepath.Join(running.dir, "keyring.json")), "in a directory that does not exist"},
		"streams that overlap":         {append(joined, "--stream.name", "OTHER"), "OTHER"},
		"a port that is taken":         {[]string{"--nats.port", taken}, "taken by another program"},
		"a wrong setting":              {[]string{"--nats.port", freePort(t), "--cache.ttl", "soon"}, "cache.ttl"},
		"a store that is away":         {[]string{"--nats.port", freePort(t), "--config", stores}, "cannot be reached"},
		"a file without a keyring":     {[]string{"--nats.port", freePort(t), "--keyring.file", odd}, "keyring.file"},
		"a health port taken":          {[]string{"--nats.port", freePort(t), "--health.listen", "127.0.0.1:" + taken}, "health.listen"},
		"a keyring that is not copied": {append(joined, "--store.dir", filepath.Join(running.dir, "credentials")), "keyring.file: the deployment has keys"},
		"a server that is not there":   {[]string{"--nats.url", "nats://127.0.0.1:" + freePort(t)}, "no server listens"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			worker := exec.Command("worker", append([]string{"--data-dir", dir}, test.args...)...)
			worker.Env = environment(t.TempDir())
			out, err := worker.CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.says) {
				t.Errorf("%v, it says %s", err, out)
			}
			for _, made := range []string{"credentials", "keyring.json"} {
				if _, err := os.Stat(filepath.Join(dir, made)); err == nil {
					t.Errorf("it left %s", made)
				}
			}
		})
	}
}
