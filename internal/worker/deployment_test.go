package worker

import (
	"log/slog"
	"strings"
	"testing"

	"credbus/internal/config"
)

// joining is the configuration of a second worker beside first.
func joining(t *testing.T, first *bed, settings ...string) *config.Config {
	t.Helper()
	c, err := config.Load(nil, append([]string{
		"CREDBUS_DATA_DIR=" + t.TempDir(),
		"CREDBUS_NATS_CONTEXT=" + first.server.WorkerContext(),
		"CREDBUS_KEYRING_FILE=" + first.config.Keyring.File,
	}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Two hosts with a directory each would answer half of the requests from one and
// half from the other. So the second worker stops, and says why.
func TestWorkersWithStoresOfTheirOwn(t *testing.T) {
	first := newBed(t)
	first.put(t, "org:acme", "db", "v")
	refused := func(what string, c *config.Config, want ...string) {
		t.Helper()
		w, err := Start(t.Context(), c, slog.New(slog.DiscardHandler))
		if err == nil {
			w.Close(t.Context()) //nolint:errcheck // it should not run
			t.Fatalf("%s: it started", what)
		}
		for _, text := range want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error %q does not say %q", what, err, text)
			}
		}
	}
	refused("a directory of its own", joining(t, first), "store default: the deployment has file file:", "--deployment.change")
	refused("a store in memory", joining(t, first, "CREDBUS_STORE_TYPE=memory"), "store default")
	refused("told to change the deployment under another worker",
		joining(t, first, "CREDBUS_STORE_TYPE=memory", "CREDBUS_DEPLOYMENT_CHANGE=true"), "store default", "stop all of them first")
	refused("a keyring of its own", joining(t, first, "CREDBUS_STORE_DIR="+first.config.Store.Dir,
		"CREDBUS_KEYRING_FILE="+newBed(t).config.Keyring.File), "keyring.file: the deployment has keys")
	if value, told := first.get(t, "org:acme", "db"); told != nil || value != "v" {
		t.Errorf("the first worker after that: %q, %v", value, told)
	}
	second := runBed(t, joining(t, first, "CREDBUS_STORE_DIR="+first.config.Store.Dir))
	second.client = first.client
	if value, told := second.get(t, "org:acme", "db"); told != nil || value != "v" {
		t.Errorf("a worker that agrees: %q, %v", value, told)
	}
}

// A worker that runs ends when its deployment is not the one that it joined.
func TestDeploymentChangesUnderWorker(t *testing.T) {
	b := newBed(t)
	if err := b.checkDeployment(t.Context()); err != nil {
		t.Fatal(err)
	}
	own, err := b.deploymentRecord(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own.Routes["org:acme"] = "elsewhere"
	if err := b.deployment.Check(t.Context(), own); err == nil {
		t.Fatal("another route agrees with the record")
	} else {
		b.fail(err)
	}
	if err := <-b.Failed(); !strings.Contains(err.Error(), "store.routes of org:acme") {
		t.Errorf("it ends with %v", err)
	}
}
