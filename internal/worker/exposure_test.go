package worker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"credbus/internal/config"
)

func TestExposedNATS(t *testing.T) {
	for _, test := range []struct {
		host       string
		tls, users bool
		want       string
	}{
		{"127.0.0.1", false, true, ""},
		{"::1", false, true, ""},
		{"192.0.2.1", true, true, ""},
		{"192.0.2.1", false, true, "has no TLS"},
		{"127.0.0.1", true, false, "lets anybody in"},
		{"192.0.2.1", false, false, "has no TLS; lets anybody in"},
	} {
		var got []string
		for _, e := range exposedNATS("nats.url", "nats://x", test.host, test.tls, test.users) {
			for _, what := range []string{"has no TLS", "lets anybody in"} {
				if strings.Contains(e.What, what) {
					got = append(got, what)
				}
			}
		}
		if strings.Join(got, "; ") != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

// A kubeconfig may have an API server without TLS. The worker must refuse it
// before it sends its token there.
func TestExposedCluster(t *testing.T) {
	for address, want := range map[string]bool{"http://192.0.2.1:8080": true, "192.0.2.1:8080": true, "https://192.0.2.1": false, "http://127.0.0.1:8080": false} {
		kubeconfig := filepath.Join(t.TempDir(), "config")
		content := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":"u"}}],
			"clusters":[{"name":"k","cluster":{"server":%q}}],"users":[{"name":"u","user":{}}]}`, address)
		if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(nil, []string{"CREDBUS_DATA_DIR=" + t.TempDir(), "CREDBUS_STORE_TYPE=kubernetes", "CREDBUS_STORE_KUBERNETES_KUBECONFIG=" + kubeconfig, "CREDBUS_SECURITY_REQUIRE_TLS=true"})
		if err != nil {
			t.Fatal(err)
		}
		w := newWorker(c, slog.New(slog.DiscardHandler))
		found := w.exposedClusters()
		if got := len(found) == 1 && strings.Contains(found[0].Refused().Error(), "http://192.0.2.1:8080"); got != want || len(found) > 1 {
			t.Errorf("%s: %+v", address, found)
		}
	}
}

// For a server without users, the worker warns once, or refuses it; a server
// with users is accepted.
func TestServerWithoutUsers(t *testing.T) {
	start := func(users []*server.User, settings ...string) (logs string, err error) {
		t.Helper()
		ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), Users: users})
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		defer ns.WaitForShutdown()
		defer ns.Shutdown()
		if !ns.ReadyForConnections(10 * time.Second) {
			t.Fatal("the NATS server is not ready")
		}
		c, err := config.Load(nil, append([]string{"CREDBUS_DATA_DIR=" + t.TempDir(), "CREDBUS_NATS_URL=" + ns.ClientURL()}, settings...))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w, err := Start(t.Context(), c, slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})))
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			err = w.Close(ctx)
		}
		return out.String(), err
	}
	users := []*server.User{{Username: "worker", Password: "pw"}}
	if logs, err := start(nil); err != nil || strings.Count(logs, "exposed: ") != 1 || !strings.Contains(logs, "setting=nats.url") || !strings.Contains(logs, "lets anybody in") {
		t.Errorf("without users: %v\n%s", err, logs)
	}
	if logs, err := start(users, "NATS_USER=worker", "NATS_PASSWORD=pw"); err != nil || strings.Contains(logs, "exposed") {
		t.Errorf("with users: %v\n%s", err, logs)
	}
	if _, err := start(nil, "CREDBUS_SECURITY_REQUIRE_TLS=true"); err == nil || !strings.Contains(err.Error(), "security.require_tls refuses to start") || !strings.Contains(err.Error(), "give it users") {
		t.Errorf("without users, refused: %v", err)
	}
	if _, err := start(users, "NATS_USER=worker", "NATS_PASSWORD=pw", "CREDBUS_SECURITY_REQUIRE_TLS=true"); err != nil {
		t.Errorf("with users, on this machine: %v", err)
	}
}

// The worker uses its embedded server, whatever the variables of the nats
// command say.
func TestEmbeddedServerWithVariablesOfOthers(t *testing.T) {
	c, err := config.Load(nil, []string{"CREDBUS_DATA_DIR=" + t.TempDir(), "NATS_USER=other", "NATS_PASSWORD=pw", "NATS_CREDS=/none", "NATS_CA=/none"})
	if err != nil {
		t.Fatal(err)
	}
	c.NATS.Port = -1
	w, err := Start(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
