package jetstream_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/store"
	"credbus/internal/store/jetstream"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// The permissions of deploy/jetstream/worker.conf are enough for the whole suite, and
// give access to no other bucket.
func TestPermissions(t *testing.T) {
	permissions, err := filepath.Abs("../../../deploy/jetstream/worker.conf")
	must(t, err)
	file := filepath.Join(t.TempDir(), "server.conf")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `
		include %q
		authorization: {users: [
			{user: admin, password: pw}
			{user: worker, password: pw, permissions: $credbus_worker}
		]}`, relative(t, filepath.Dir(file), permissions)), 0o600))
	options, err := server.ProcessConfigFile(file)
	must(t, err)
	options.Host, options.Port, options.NoSigs, options.NoLog, options.JetStream, options.StoreDir = "127.0.0.1", server.RANDOM_PORT, true, true, true, t.TempDir()
	b := &bed{options: *options}
	b.start(t)
	t.Cleanup(b.stop)

	var mu sync.Mutex
	var refusals []string
	worker := func(t *testing.T) *nats.Conn {
		inbox := nats.CustomInboxPrefix(subjects.DefaultPrefix.Inbox()) // like a worker's
		return b.connect(t, nats.UserInfo("worker", "pw"), inbox, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			mu.Lock()
			defer mu.Unlock()
			refusals = append(refusals, err.Error())
		}))
	}
	open := func(t *testing.T) store.Store {
		s, err := jetstream.New(t.Context(), worker(t), jetstream.Config{})
		must(t, err)
		t.Cleanup(func() { s.Close(context.Background()) })
		return s
	}
	admin := b.connect(t, nats.UserInfo("admin", "pw"))
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Store {
			s := open(t)
			// The bucket is emptied, not deleted: after two deletions close together a
			// server refuses a stream whose name it is still removing.
			_, err := admin.Request("$JS.API.STREAM.PURGE.KV_"+jetstream.DefaultBucket, nil, 10*time.Second)
			must(t, err)
			return s
		},
		OnePlace: true,
		Other:    func(t *testing.T, _ store.Store) store.Store { return open(t) },
		Features: storetest.Features{WalkRecords: 500},
	})
	mu.Lock()
	if len(refusals) > 0 {
		t.Errorf("refused: %v", refusals)
	}
	mu.Unlock()
	if _, err := jetstream.New(t.Context(), worker(t), jetstream.Config{Bucket: "other"}); err == nil || !strings.Contains(err.Error(), "store.bucket") {
		t.Errorf("another bucket: %v", err)
	}
}

// relative returns path relative to dir, because a configuration file includes
// another one by its relative path.
func relative(t *testing.T, dir, path string) string {
	t.Helper()
	path, err := filepath.Rel(dir, path)
	must(t, err)
	return path
}
