package worker

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"credbus/internal/config"
)

// A worker that cannot open the stored credentials must not start with a new
// keyring, or all of them would seem damaged.
func TestKeyringIsMissing(t *testing.T) {
	dir := t.TempDir()
	b := startBed(t, dir)
	b.put(t, "org:acme", "db", "v")
	b.stop(t)
	path := b.config.Keyring.File
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(nil, []string{"CREDBUS_DATA_DIR=" + dir})
	if err != nil {
		t.Fatal(err)
	}
	c.NATS.Port = -1
	if _, err := Start(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "keyring.file") || !strings.Contains(err.Error(), "backup") {
		t.Fatalf("without its keyring: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it made another keyring")
	}
	if err := os.Rename(path+".moved", path); err != nil {
		t.Fatal(err)
	}
	again := startBed(t, dir) // which also shows that the failed start left nothing locked
	if value, told := again.get(t, "org:acme", "db"); told != nil || value != "v" {
		t.Errorf("with it: %q, %v", value, told)
	}
}
