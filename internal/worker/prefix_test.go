package worker

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/config"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// streamConfigs are the settings of all streams of an account, as text.
func streamConfigs(t *testing.T, nc *nats.Conn) map[string]string {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	list := js.ListStreams(t.Context())
	for info := range list.Info() {
		text, err := json.Marshal(info.Config)
		if err != nil {
			t.Fatal(err)
		}
		all[info.Config.Name] = string(text)
	}
	if list.Err() != nil {
		t.Fatal(list.Err())
	}
	return all
}

// Two deployments in one account do not affect each other: names follow the
// prefix, and names that collide stop the start before it changes anything.
func TestTwoPrefixesInOneAccount(t *testing.T) {
	server := testbed.Start(t, "nats").Fact("address")
	load := func(settings ...string) *config.Config {
		c, err := config.Load(nil, append([]string{onBucket, "CREDBUS_NATS_URL=" + server, "CREDBUS_DATA_DIR=" + t.TempDir()}, settings...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	nc, err := nats.Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const staging = "CREDBUS_NATS_PREFIX=staging.v1"
	ask := func(prefix subjects.Prefix, c subjects.Command, body string) string {
		t.Helper()
		msg, err := nc.Request(prefix.Command(c, "org:acme"), []byte(body), requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		return string(msg.Data)
	}

	runBed(t, load())
	ask("cred.v1", subjects.Store, `{"id":"db","value":"production"}`)
	before := streamConfigs(t, nc)
	runBed(t, load(staging))
	after := streamConfigs(t, nc)
	for name := range before {
		if after[name] != before[name] {
			t.Errorf("stream %s was changed:\n%s\n%s", name, before[name], after[name])
		}
		if !strings.HasPrefix(name, "CREDBUS") && !strings.HasPrefix(name, "KV_CREDBUS") {
			t.Errorf("what is stream %s?", name)
		}
		if other := strings.Replace(name, "CREDBUS", "CREDBUS_staging_v1", 1); after[other] == "" {
			t.Errorf("there is no stream %s beside %s", other, name)
		}
	}
	if told := ask("staging.v1", subjects.Retrieve, `{"id":"db"}`); !strings.Contains(told, "not_found") {
		t.Errorf("staging shows a credential of production: %s", told)
	}
	ask("staging.v1", subjects.Store, `{"id":"db","value":"staging"}`)
	if told := ask("cred.v1", subjects.Retrieve, `{"id":"db"}`); !strings.Contains(told, "production") {
		t.Errorf("production reads %s", told)
	}

	// Each of the names, given by hand, stops a third deployment.
	before = streamConfigs(t, nc)
	for setting, name := range map[string]string{"stream.name": "CREDBUS", "jobs.stream": "CREDBUS_JOBS", "store.bucket": "CREDBUS_CREDENTIALS"} {
		variable := "CREDBUS_" + strings.ToUpper(strings.ReplaceAll(setting, ".", "_"))
		c := load("CREDBUS_NATS_PREFIX=third.v1", variable+"="+name)
		w, err := Start(t.Context(), c, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = w.Close(context.Background())
		}
		if err == nil || !strings.Contains(err.Error(), setting) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "third.v1") {
			t.Errorf("with %s %s: %v", setting, name, err)
		}
		if after := streamConfigs(t, nc); !maps.Equal(before, after) {
			t.Errorf("with %s %s, streams %v became %v", setting, name, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
		}
	}
}
