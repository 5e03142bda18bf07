package worker

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/internal/config"
)

// The configuration to paste from docs/permissions.md works as the page says.
func TestWholeConfigurationOfTheDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/permissions.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```text\n(# nats-server.conf.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/permissions.md has no whole configuration")
	}
	file := filepath.Join(t.TempDir(), "nats-server.conf")
	if err := os.WriteFile(file, block[1], 0o600); err != nil {
		t.Fatal(err)
	}
	url := serverOf(t, file, nil)
	c, err := config.Load(nil, []string{"CREDBUS_DATA_DIR=" + t.TempDir(), "CREDBUS_NATS_URL=" + url,
		"CREDBUS_NATS_INBOX_PREFIXES=_INBOX_acme,_INBOX_ops", "NATS_USER=worker", "NATS_PASSWORD=change-me-worker"})
	if err != nil {
		t.Fatal(err)
	}
	b := runBed(t, c)
	connect := func(user, inbox string) *client.Client {
		nc, err := nats.Connect(url, nats.UserInfo(user, "change-me-"+user), nats.CustomInboxPrefix(inbox))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		c, err := client.Connect("", &client.Config{Conn: nc})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	acme := connect("acme", "_INBOX_acme")
	events, err := acme.Events(t.Context(), "org:acme")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := acme.Store(t.Context(), "org:acme/team:eng", "db", client.Value([]byte("s3cret")), nil); err != nil {
		t.Fatal(err)
	}
	for event, err := range events {
		if err != nil || event.ID != "db" {
			t.Errorf("event %v, %v", event, err)
		}
		break
	}
	batch, err := acme.ValidateJob(t.Context(), "org:acme", []client.Target{{Scope: "org:acme/team:eng", ID: "db"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := batch.Wait(t.Context()); err != nil || !status.AllSucceeded() {
		t.Errorf("job: %+v, %v", status, err)
	}
	nc, err := nats.Connect(url, nats.UserInfo("acme", "change-me-acme"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, subject := range []string{"cred.v1.retrieve.org:other", "cred.v1.admin.keys", "cred.v1.event.org:acme.db", "$JS.API.STREAM.LIST"} {
		if may(t, nc, func() error { return nc.Publish(subject, nil) }) {
			t.Errorf("acme may publish on %s", subject)
		}
	}
	if deployment, err := connect("operator", "_INBOX_ops").Deployment(t.Context()); err != nil || len(deployment.Replicas) != 1 {
		t.Errorf("operator: %v, %v", deployment, err)
	}
	if logs := b.logs.String(); strings.Contains(strings.ToLower(logs), "permissions violation") {
		t.Errorf("the worker is refused:\n%s", logs)
	}
}
