package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/config"
	"credbus/internal/deployment"
	"credbus/internal/jsapi"
	"credbus/subjects"
)

// onBucket makes a worker keep its credentials in a bucket.
const onBucket = "CREDBUS_STORE_TYPE=jetstream"

// Workers on one bucket, with copies of one keyring, serve the same
// credentials.
func TestBucketIsShared(t *testing.T) {
	dir := t.TempDir()
	first := startBed(t, dir, onBucket)
	keyring, err := os.ReadFile(first.config.Keyring.File)
	if err != nil {
		t.Fatal(err)
	}
	join := func(keyringFile string) (*config.Config, error) {
		return config.Load(nil, []string{
			onBucket, "CREDBUS_DATA_DIR=" + t.TempDir(), "CREDBUS_KEYRING_FILE=" + keyringFile,
			"CREDBUS_NATS_CONTEXT=" + first.server.WorkerContext(),
		})
	}
	copied := filepath.Join(t.TempDir(), "keyring.json")
	if err := os.WriteFile(copied, keyring, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := join(copied)
	if err != nil {
		t.Fatal(err)
	}
	second := runBed(t, c)
	second.client = first.client

	canary := newCanary()
	for write := range 20 {
		value := fmt.Sprint(canary.text, write)
		first.put(t, "org:acme/team:eng", "db", value)
		for range 4 { // of either worker
			if got, told := first.get(t, "org:acme/team:eng", "db"); told != nil || got != value {
				t.Fatalf("after write %d: %q, %v", write, got, told)
			}
		}
	}
	js, err := jetstream.New(first.conn)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "CREDBUS_CREDENTIALS")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), "org=acme.team=eng.db")
	if err != nil {
		t.Fatal(err)
	}
	if canary.in(entry.Value()) {
		t.Error("the bucket holds a value in clear")
	}
	canary.searchFiles(t, dir)

	// A worker without the keyring must not make another.
	missing := filepath.Join(t.TempDir(), "missing.json")
	if c, err = join(missing); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "keyring.file") || !strings.Contains(err.Error(), "copy it from a worker") {
		t.Errorf("without its keyring: %v", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("it made another keyring")
	}

	// The remains of a deleted credential in the bucket must not open.
	first.must(t, subjects.Delete, "org:acme/team:eng", &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: "db"}}}, new(subjects.DeleteReply))
	second.stop(t)
	first.stop(t)
	again := startBed(t, dir, onBucket)
	_, told := again.get(t, "org:acme/team:eng", "db")
	wantCode(t, told, subjects.NotFound)
}

// A worker that cannot have its bucket says which setting to change.
func TestBucketIsRefused(t *testing.T) {
	b := newBed(t)
	js, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "volatile", Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(nil, []string{
		onBucket, "CREDBUS_STORE_BUCKET=volatile", "CREDBUS_DATA_DIR=" + t.TempDir(), "CREDBUS_NATS_CONTEXT=" + b.server.WorkerContext(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "volatile (store.bucket") {
		t.Errorf("on a bucket in memory: %v", err)
	}
}

// With this store, clients can rely on the same guarantees.
func TestOperationsOnBucket(t *testing.T) {
	first := newBed(t, onBucket)
	joinBed(t, first)
	operate(t, &history{bed: first, workers: 2}, 25, 50)
}

// A bucket that was made again is another store, and a running worker must
// notice.
func TestBucketIsMadeAnew(t *testing.T) {
	b := newBed(t, onBucket)
	if err := b.checkDeployment(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.makeBucketAnew(t)
	err := b.checkDeployment(t.Context())
	if _, mismatch := errors.AsType[*deployment.Mismatch](err); !mismatch || strings.Count(err.Error(), "jetstream:") != 2 {
		t.Errorf("%v, want the identities of both", err)
	}
}

func (b *bed) makeBucketAnew(t *testing.T) {
	t.Helper()
	js, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	const bucket = "CREDBUS_CREDENTIALS"
	if err := js.DeleteKeyValue(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	spec := bucketConfig(b.Worker, b.config.Store).Spec()
	if _, err := jsapi.Ensure(t.Context(), js, spec); err != nil {
		t.Fatal(err)
	}
}
