package worker

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"credbus/client"
	"credbus/internal/config"
	"credbus/internal/testbed"
)

// With a keyring wrapped by a real Vault, a worker makes it, follows its
// changes, and restarts with it. It does not start if Vault does not unwrap it.
func TestWrappedKeyring(t *testing.T) {
	server := testbed.Shared(t, "vault")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Fact("address")+"/v1/transit/keys/worker", strings.NewReader(`{}`))
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
	uri := strings.Replace(server.Fact("address"), "http://", "hcvault://", 1) + "/transit/keys/worker"

	dir, setting := t.TempDir(), "CREDBUS_KEYRING_WRAP="+uri
	b := startBed(t, dir, setting)
	b.put(t, "org:acme", "db", "s3cret")
	c, err := client.Connect("", &client.Config{Context: b.ClientContext()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	rotateFile(t, b.keyringFile)
	awaitPrimary(t, c, b.keyringFile)
	if done, err := resealAll(t.Context(), c, nil); err != nil || done != 1 {
		t.Errorf("%d, %v", done, err)
	}
	b.stop(t)

	b = startBed(t, dir, setting)
	if got, told := b.get(t, "org:acme", "db"); got != "s3cret" || told != nil {
		t.Errorf("%q, %v", got, told)
	}
	b.stop(t)

	for what, environ := range map[string][]string{
		"keyring.wrap: it is not the URI of a key service":     {"CREDBUS_KEYRING_WRAP=vault"},
		"is wrapped by a key service: name it (keyring.wrap, ": {},
		"needs update on transit/decrypt/other":                {"CREDBUS_KEYRING_WRAP=" + strings.Replace(uri, "/worker", "/other", 1), "token"},
	} {
		if len(environ) == 2 {
			environ = environ[:1]
			t.Setenv("VAULT_TOKEN", "hvs.wrong")
		}
		cfg, err := config.Load(nil, append(environ, "CREDBUS_DATA_DIR="+dir))
		if err != nil {
			t.Fatal(err)
		}
		cfg.NATS.Port = -1
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		w, err := Start(ctx, cfg, slog.New(slog.DiscardHandler))
		cancel()
		if err == nil {
			_ = w.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v", what, err)
		}
	}
}
