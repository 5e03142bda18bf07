package jsapi_test

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
)

func newJetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not become ready")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func spec(name string) jsapi.Spec {
	return jsapi.Spec{
		Config: jetstream.StreamConfig{
			Name: name, Subjects: []string{"p.new.>"}, Storage: jetstream.FileStorage, MaxAge: time.Hour, MaxBytes: 1 << 20,
			RePublish: &jetstream.RePublish{Source: "p.new.>", Destination: "p.event.>"},
		},
		Owner: "p", Former: []string{"p.old.>", "p.new.log.>"}, Setting: "some.setting",
	}
}

// made creates a stream of that name, changed by change, and returns its configuration.
func made(t *testing.T, js jetstream.JetStream, name string, change func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	t.Helper()
	config := spec(name).Config
	change(&config)
	// A server may at first refuse to create a stream right after it deleted one of that name.
	stream, err := jsapi.Ask(t.Context(), func(ctx context.Context) (jetstream.Stream, error) { return js.CreateStream(ctx, config) })
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config
}

func TestEnsureKeepsWhatIsStronger(t *testing.T) {
	js := newJetStream(t)
	found := made(t, js, "S", func(c *jetstream.StreamConfig) {
		c.Subjects, c.RePublish = []string{"p.new.log.>", "p.old.>"}, nil
		c.MaxAge, c.MaxBytes, c.Description = 2*time.Hour, 1<<19, "ours"
		c.Metadata = map[string]string{"team": "a"}
		c.AllowDirect, c.Compression = true, jetstream.S2Compression
	})
	for range 2 { // the second time there is nothing to change
		stream, err := jsapi.Ensure(t.Context(), js, spec("S"))
		if err != nil {
			t.Fatal(err)
		}
		got, want := stream.CachedInfo().Config, found
		want.Subjects, want.RePublish = spec("S").Config.Subjects, spec("S").Config.RePublish
		want.MaxBytes, want.AllowDirect = 1<<20, false
		want.Metadata = got.Metadata
		if !reflect.DeepEqual(got, want) || got.Metadata["team"] != "a" || got.Metadata["credbus_prefix"] != "p" {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
}

// A stream without MaxBytes gets one: a stream that fills the disk stops all others.
func TestEnsureBounds(t *testing.T) {
	js := newJetStream(t)
	made(t, js, "S", func(c *jetstream.StreamConfig) { c.MaxBytes, c.MaxAge = -1, 0 })
	stream, err := jsapi.Ensure(t.Context(), js, spec("S"))
	if err != nil {
		t.Fatal(err)
	}
	if config := stream.CachedInfo().Config; config.MaxBytes != 1<<20 || config.MaxAge != 0 {
		t.Errorf("at most %d bytes, for %v", config.MaxBytes, config.MaxAge)
	}
}

// A stream of ours must take all that workers send, and refuse to be purged if it has to.
func TestEnsureMendsLimits(t *testing.T) {
	js := newJetStream(t)
	made(t, js, "S", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 })
	want := spec("S")
	want.Config.DenyPurge = true
	stream, err := jsapi.Ensure(t.Context(), js, want)
	if err != nil {
		t.Fatal(err)
	}
	if config := stream.CachedInfo().Config; config.MaxMsgSize != -1 || !config.DenyPurge {
		t.Errorf("messages of at most %d bytes, deny_purge %v", config.MaxMsgSize, config.DenyPurge)
	}
}

// If the server or the account has less room than MaxBytes, a stream gets what fits,
// with a warning that names the setting. An existing stream never gets less.
func TestEnsureFits(t *testing.T) {
	js := newJetStream(t)
	logs := new(strings.Builder)
	large := func(name string, bytes int64) jsapi.Spec {
		s := spec(name)
		s.Config.MaxBytes, s.BytesSetting = bytes, "some.max_bytes"
		s.Logger = slog.New(slog.NewTextHandler(logs, nil))
		return s
	}
	const much = 1 << 60
	bound := func(bytes int64) int64 {
		t.Helper()
		stream, err := jsapi.Ensure(t.Context(), js, large("S", bytes))
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().Config.MaxBytes
	}
	if got := bound(1 << 20); got != 1<<20 || logs.Len() > 0 {
		t.Fatalf("%d bytes, warned %q", got, logs)
	}
	fits := bound(much)
	if fits <= 1<<20 || fits >= much || !strings.Contains(logs.String(), "some.max_bytes") {
		t.Errorf("an existing stream gets %d bytes, warned %q", fits, logs)
	}
	if again := bound(much); again != fits {
		t.Errorf("at the next start it gets %d bytes, had %d", again, fits)
	}
	if err := js.DeleteStream(t.Context(), "S"); err != nil {
		t.Fatal(err)
	}
	if got := bound(much); got != fits {
		t.Errorf("a new stream gets %d bytes, want %d", got, fits)
	}
	// There is no room even for the least.
	other := large("T", much)
	other.Config.Subjects, other.Config.RePublish, other.Former = []string{"t.>"}, nil, nil
	for {
		if _, err := jsapi.Ensure(t.Context(), js, other); err != nil {
			if !jsapi.IsFull(err) {
				t.Error(err)
			}
			break
		}
		other.Config.Name += "T"
		other.Config.Subjects = []string{other.Config.Name + ".>"}
	}
}

func TestEnsureRefuses(t *testing.T) {
	js := newJetStream(t)
	for want, change := range map[string]func(*jetstream.StreamConfig){
		"prefix q":          func(c *jetstream.StreamConfig) { c.Metadata = map[string]string{"credbus_prefix": "q"} },
		"other subjects":    func(c *jetstream.StreamConfig) { c.Subjects, c.RePublish = []string{"q.>"}, nil },
		"(p.new.>, p.more)": func(c *jetstream.StreamConfig) { c.Subjects = []string{"p.new.>", "p.more"} },
		"(p.old.>)":         func(c *jetstream.StreamConfig) { c.Subjects, c.RePublish = []string{"p.old.>"}, nil },
		"kept in memory":    func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"retention":         func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"persist_mode":      func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"no_ack":            func(c *jetstream.StreamConfig) { c.NoAck = true },
		"copy of another":   func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} },
		"subject_transform": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "p.new.>", Destination: "x.>"}
		},
	} {
		before := made(t, js, "S", change)
		for _, err := range []error{
			jsapi.Check(t.Context(), js, spec("NONE"), spec("S")),
			func() error { _, err := jsapi.Ensure(t.Context(), js, spec("S")); return err }(),
		} {
			if refused, ok := errors.AsType[*jsapi.Refusal](err); !ok || refused.Stream != "S" || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "some.setting") {
				t.Errorf("%v, want %q", err, want)
			}
		}
		stream, err := js.Stream(t.Context(), "S")
		if err != nil || !reflect.DeepEqual(stream.CachedInfo().Config, before) {
			t.Errorf("%s: the stream was changed: %v", want, err)
		}
		if err := js.DeleteStream(t.Context(), "S"); err != nil {
			t.Fatal(err)
		}
	}
}
