package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/sealkeys"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

const (
	scope  = subjects.Scope("org:acme/team:eng")
	prefix = subjects.DefaultPrefix
)

// bed is a NATS server and a store that workers share.
type bed struct {
	json bool // jobs are submitted in JSON

	url     string
	options *server.Options
	server  *server.Server
	dir     string // of the server
	store   *observed
	keyring *seal.Keyring
	nc      *nats.Conn // of a client
	js      jetstream.JetStream
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{dir: t.TempDir(), store: &observed{Store: memory.New()}}
	b.options = &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: b.dir, NoSigs: true, NoLog: true}
	s, err := server.NewServer(b.options.Clone())
	must(t, err)
	b.server = s
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	b.url = s.ClientURL()
	b.keyring, err = seal.NewKeyring()
	must(t, err)
	b.nc = b.connect(t)
	b.js, err = jetstream.New(b.nc)
	must(t, err)
	return b
}

func (b *bed) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.PermissionErrOnSubscribe(true))
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// worker is a worker that runs jobs.
type worker struct {
	*Service
	nc    *nats.Conn
	store *observed
}

// start runs a worker, over the bed's store, until the test ends.
func (b *bed) start(t *testing.T, name string, change func(*Config)) *worker {
	t.Helper()
	w := b.make(t, name, change)
	must(t, w.Start(t.Context()))
	return w
}

func (b *bed) make(t *testing.T, name string, change func(*Config)) *worker {
	t.Helper()
	ctx, logger := t.Context(), slog.New(slog.DiscardHandler)
	w := &worker{nc: b.connect(t), store: &observed{Store: b.store}}
	stream, err := coherence.OpenStream(ctx, w.nc, coherence.StreamConfig{Name: "CREDBUS", Prefix: prefix, Logger: logger})
	must(t, err)
	c, err := cache.New(cache.Config{})
	must(t, err)
	replica := coherence.NewReplica(stream, c, coherence.Config{Name: name, Logger: logger})
	follow, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { replica.Run(follow) })
	t.Cleanup(func() { stop(); following.Wait(); c.Close() })
	must(t, replica.AwaitTrust(ctx))
	m, err := manager.New(manager.Config{
		RecordsConfig: manager.RecordsConfig{Store: w.store, Keyring: b.keyring, Replica: replica, Logger: logger},
		ReaderConfig:  manager.ReaderConfig{Cache: c},
	})
	must(t, err)
	keys, err := sealkeys.Open(ctx, sealkeys.Config{Conn: w.nc, Keyring: b.keyring, Prefix: prefix, Stream: "CREDBUS_JOBS", Logger: logger})
	must(t, err)
	config := Config{
		Conn: w.nc, Manager: m, Keys: keys, Applied: replica.Applied, Last: stream.LastChange, Served: func() int64 { return 0 }, Name: name,
		Backoff: 20 * time.Millisecond, AckWait: time.Second, Logger: logger,
	}
	if change != nil {
		change(&config)
	}
	w.Service, err = New(ctx, config)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = w.Close(ctx) // some are killed
	})
	return w
}

// kill stops all visible effects of a worker.
func (w *worker) kill() {
	w.nc.Close()
	w.stopTaking()
}

// observed is a store that logs effective writes, and can be made to fail.
type observed struct {
	store.Store

	mu     sync.Mutex
	writes []string                                      // the changed credential, and the name of the write
	before func(write string, key subjects.Target) error // called before a write; an error replaces it
	after  func(write string, key subjects.Target)       // called after a write
}

func (o *observed) hooks(before func(string, subjects.Target) error, after func(string, subjects.Target)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.before, o.after = before, after
}

func (o *observed) write(write string, key subjects.Target, do func() (changed bool, err error)) error {
	o.mu.Lock()
	before, after := o.before, o.after
	o.mu.Unlock()
	if before != nil {
		if err := before(write, key); err != nil {
			return err
		}
	}
	changed, err := do()
	if err == nil && changed {
		o.mu.Lock()
		o.writes = append(o.writes, write+" "+string(key.ID))
		o.mu.Unlock()
		if after != nil {
			after(write, key)
		}
	}
	return err
}

func (o *observed) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (version string, err error) {
	err = o.write("put", rec.Target, func() (bool, error) {
		there, err := o.Store.Get(ctx, rec.Target)
		again := err == nil && there.WriteID == rec.WriteID
		version, err = o.Store.Put(ctx, rec, pre)
		return !again, err
	})
	return version, err
}

func (o *observed) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	return o.write("delete", key, func() (bool, error) { return true, o.Store.Delete(ctx, key, pre) })
}

// log returns the logged writes by ID.
func (o *observed) log() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	times := make(map[string]int)
	for _, write := range o.writes {
		times[write]++
	}
	return times
}

// submit publishes a job and returns its name.
func submit[T any, P subjects.Item[T]](t *testing.T, b *bed, w *worker, command subjects.Command, job subjects.Job, items ...T) subjects.Target {
	t.Helper()
	return submitAt[T, P](t, b, w, scope, command, job, items...)
}

// submitAt publishes a job at any scope.
func submitAt[T any, P subjects.Item[T]](t *testing.T, b *bed, w *worker, scope subjects.Scope, command subjects.Command, job subjects.Job, items ...T) subjects.Target {
	t.Helper()
	published := &subjects.JobOf[T, P]{Job: job, Request: subjects.BatchRequest[T, P]{Items: items}}
	if command.CarriesValues() {
		published.Job = sealed[T, P](t, w, scope, command, job, items...)
		published.Request.Items = nil
	}
	body := subjects.Append(nil, published)
	if b.json {
		var err error
		body, err = subjects.ToJSON(body)
		must(t, err)
	}
	b.publish(t, prefix.Job(command, scope, job.ID), body)
	return subjects.Target{Scope: scope, ID: job.ID}
}

// sealed returns a job sealed as by a client.
func sealed[T any, P subjects.Item[T]](t *testing.T, w *worker, scope subjects.Scope, command subjects.Command, job subjects.Job, items ...T) subjects.Job {
	t.Helper()
	key := w.config.Keys.Current()
	if job.Submitted.IsZero() {
		job.Submitted = w.clock.now()
	}
	inner := &subjects.JobOf[T, P]{Job: job, Request: subjects.BatchRequest[T, P]{Items: items}}
	var err error
	job.SealedTo = key.ID
	job.Sealed, err = key.Public().Seal(subjects.Append(nil, inner), prefix.Job(command, scope, job.ID))
	must(t, err)
	return job
}

func (b *bed) publish(t *testing.T, subject string, body []byte) {
	t.Helper()
	_, err := b.js.Publish(t.Context(), prefix.QueuedJob(subject), body)
	must(t, err)
}

func job(id subjects.ID) subjects.Job { return subjects.Job{ID: id} }

func storeItems(n int) (items []subjects.StoreItem) {
	for i := range n {
		items = append(items, subjects.StoreItem{Target: target(i), Data: subjects.Value([]byte(fmt.Sprint("value-", i))), CreateOnly: true})
	}
	return items
}

// patchItems change the credentials of storeItems.
func patchItems(n int) (items []subjects.PatchItem) {
	for i := range n {
		items = append(items, subjects.PatchItem{
			Target: target(i), Data: subjects.Data{"more": subjects.NewSecret([]byte(fmt.Sprint("more-", i)))}, Tags: map[string]string{"patched": "yes"},
		})
	}
	return items
}

func target(i int) subjects.Target { return subjects.Target{ID: subjects.ID(fmt.Sprint("key-", i))} }

// statuses receives the statuses of all jobs. It keeps those of other jobs for
// later, since jobs end in any order.
type statuses struct {
	told  chan *subjects.JobStatus
	other []*subjects.JobStatus // received while waiting for another job
}

// statuses follows the statuses of all jobs.
func (b *bed) statuses(t *testing.T) *statuses {
	t.Helper()
	s := &statuses{told: make(chan *subjects.JobStatus, 1000)}
	_, err := b.nc.Subscribe(prefix.JobStatuses(subjects.Root), func(msg *nats.Msg) {
		status := new(subjects.JobStatus)
		if err := subjects.Decode(msg.Data, status); err != nil {
			t.Error(err)
		}
		s.told <- status
	})
	must(t, err)
	must(t, b.nc.Flush())
	return s
}

// await returns the next status of a job that fits, after those that it
// returned or skipped before.
func (s *statuses) await(t *testing.T, job subjects.Target, fits func(*subjects.JobStatus) bool) *subjects.JobStatus {
	t.Helper()
	timeout := time.After(20 * time.Second)
	var last *subjects.JobStatus
	for i := 0; i < len(s.other); {
		if s.other[i].Target != job {
			i++
			continue
		}
		last = s.other[i]
		if s.other = slices.Delete(s.other, i, i+1); fits(last) {
			return last
		}
	}
	for {
		select {
		case status := <-s.told:
			if status.Target != job {
				s.other = append(s.other, status)
				continue
			}
			if last = status; fits(status) {
				return status
			}
		case <-timeout:
			t.Fatalf("job %s did not reach that status: %+v", job, last)
		}
	}
}

func ended(status *subjects.JobStatus) bool { return status.State.Ended() }

// onDisk reports whether any file of the server holds text.
func (b *bed) onDisk(t *testing.T, text string) (found bool) {
	t.Helper()
	must(t, filepath.WalkDir(b.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server removed it meanwhile
		}
		found = found || bytes.Contains(content, []byte(text))
		return err
	}))
	return found
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
