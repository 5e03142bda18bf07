package client_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/handler"
	"credbus/internal/manager"
	"credbus/internal/once"
	"credbus/internal/seal"
	"credbus/internal/sealkeys"
	stores "credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// flakyLog refuses announcements while failing is above zero, and counts that
// down.
type flakyLog struct {
	*coherencetest.Log
	failing atomic.Int32
}

func (l *flakyLog) Append(ctx context.Context, entry *subjects.Event) (subjects.Revision, error) {
	if l.failing.Add(-1) >= 0 {
		return subjects.Revision{}, errors.New("no stream")
	}
	return l.Log.Append(ctx, entry)
}

// faultyWorker returns a client of a real worker, under a prefix of its own. The
// worker's store and event stream fail on demand.
func faultyWorker(t *testing.T, cfg *client.Config) (*client.Client, *storetest.Faults, *flakyLog) {
	t.Helper()
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	faults := storetest.NewFaults(memory.New())
	log := &flakyLog{Log: coherencetest.NewLog()}
	c, err := cache.New(cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := seal.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	replica := coherence.NewReplica(log, c, coherence.Config{})
	following, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { replica.Run(following) })
	t.Cleanup(func() { stop(); ended.Wait(); c.Close() })
	quiet := slog.New(slog.DiscardHandler)
	m, err := manager.New(manager.Config{
		RecordsConfig: manager.RecordsConfig{Store: faults, Keyring: keyring, Replica: replica, Logger: quiet},
		ReaderConfig:  manager.ReaderConfig{Cache: c},
	})
	if err != nil {
		t.Fatal(err)
	}
	prefix := subjects.Prefix("faulty." + segment(t.Name()))
	name := "FAULTY_" + segment(t.Name())
	keys, err := sealkeys.Open(t.Context(), sealkeys.Config{Conn: nc, Keyring: keyring, Fleeting: true, Prefix: prefix, Stream: name})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := once.Open(t.Context(), once.Config{Conn: nc, Prefix: prefix, Stream: name + "_ONCE", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	h, err := handler.New(handler.Config{
		Wire: handler.Wire{Keys: keys, Messages: messages, Now: time.Now},
		Conn: nc, Manager: m, Replica: replica, Name: "faulty", Prefix: prefix,
		Stats:      func() subjects.ReplicaStats { return subjects.ReplicaStats{} },
		ScopeStats: func(subjects.Scope) subjects.ScopeStats { return subjects.ScopeStats{} }, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := errors.Join(replica.AwaitTrust(ctx), h.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	cfg.Prefix = string(prefix)
	return connect(t, workerURL, cfg), faults, log
}

// unknown is the request id of a write whose outcome is not known.
func unknown(t *testing.T, err error) (requestID string) {
	t.Helper()
	lost, ok := errors.AsType[*client.OutcomeUnknownError](err)
	if !ok {
		t.Fatalf("the outcome is not unknown: %v", err)
	}
	if !strings.Contains(err.Error(), lost.RequestID) || strings.Count(err.Error(), "may have taken effect") != 1 {
		t.Errorf("the error says %q", err)
	}
	return lost.RequestID
}

// The client does not repeat a write whose outcome the worker does not know. It acts
// once if the caller repeats it.
func TestWriteWhoseAnswerIsLost(t *testing.T) {
	c, faults, _ := faultyWorker(t, &client.Config{})
	lost := storetest.Fault{Err: stores.ErrTimeout, Applied: true, Calls: 1}

	faults.Set(storetest.Put, lost)
	create := &client.StoreOptions{CreateOnly: true}
	_, err := c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), create)
	if create.RequestID = unknown(t, err); !errors.Is(err, client.ErrStorageTimeout) {
		t.Errorf("store: %v", err)
	}
	if n := faults.Calls(storetest.Put); n != 1 {
		t.Errorf("the client repeated it: %d writes", n)
	}
	// Both ways that the error advises.
	cred, err := c.Retrieve(t.Context(), "org:a", "a", &client.RetrieveOptions{Fresh: true})
	if err != nil || string(cred.Value()) != "1" {
		t.Fatalf("retrieve: %v, %v", cred, err)
	}
	version, err := c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), create)
	if err != nil || version != cred.Version {
		t.Errorf("repeated: %q, %v; want version %q", version, err, cred.Version)
	}

	faults.Set(storetest.Delete, lost)
	err = c.Delete(t.Context(), "org:a", "a", nil)
	again := &client.DeleteOptions{RequestID: unknown(t, err)}
	if err := c.Delete(t.Context(), "org:a", "a", again); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a delete that is repeated after it took effect: %v", err)
	}

	faults.Set(storetest.Put, lost)
	results, err := c.StoreBatch(t.Context(), "org:a", []client.StoreItem{
		{ID: "a", Data: client.Value([]byte("1")), StoreOptions: client.StoreOptions{UpdateOnly: true}},
		{ID: "b", Data: client.Value([]byte("1"))},
	}, &client.BatchOptions{Concurrency: 1, RequestID: "deploy-42"})
	if err != nil {
		t.Fatal(err)
	}
	if id := unknown(t, results[0].Err); id != "deploy-42" || results[1].Err != nil {
		t.Errorf("the batch: %v, %v", results[0].Err, results[1].Err)
	}
}

// A write that certainly changed nothing is repeated, as a read is.
func TestWriteThatDidNotBegin(t *testing.T) {
	c, faults, log := faultyWorker(t, &client.Config{Retries: 2})
	log.failing.Store(2)
	if _, err := c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil); err != nil {
		t.Errorf("store: %v", err)
	}
	if n := faults.Calls(storetest.Put); n != 1 {
		t.Errorf("%d writes", n)
	}
	log.failing.Store(3)
	err := c.Delete(t.Context(), "org:a", "a", nil)
	if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); unknown || !errors.Is(err, client.ErrStorageUnavailable) {
		t.Errorf("delete: %v", err)
	}
	if n := faults.Calls(storetest.Delete); n != 0 {
		t.Errorf("%d deletes", n)
	}
}
