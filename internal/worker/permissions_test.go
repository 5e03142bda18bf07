package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/config"
	"credbus/subjects"
)

// The published permissions for workers on a bucket are enough for two workers
// to serve, whichever form acknowledgements have.
func TestPermissionsOfAWorker(t *testing.T) {
	for name, flags := range map[string]map[string]bool{
		"acknowledgements of version 1": {server.FeatureFlagJsAckFormatV2: false},
		"acknowledgements of version 2": {server.FeatureFlagJsAckFormatV2: true},
	} {
		t.Run(name, func(t *testing.T) { permissionsOfAWorker(t, flags) })
	}
}

func permissionsOfAWorker(t *testing.T, flags map[string]bool) {
	permissions, err := filepath.Abs("../../deploy/jetstream/worker.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if permissions, err = filepath.Rel(dir, permissions); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "server.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
		include %q
		authorization: {users: [
			{user: client, password: pw}
			{user: worker, password: pw, permissions: $credbus_worker}
		]}`, permissions), 0o600); err != nil {
		t.Fatal(err)
	}
	url := serverOf(t, file, flags)
	client, err := nats.Connect(url, nats.UserInfo("client", "pw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)

	data := t.TempDir()
	var workers []*bed
	for range 2 {
		c, err := config.Load(nil, []string{onBucket, "CREDBUS_AUDIT_LEVEL=all", "CREDBUS_AUDIT_SINK=stream", "CREDBUS_EXPIRY_INTERVAL=1s", "CREDBUS_DATA_DIR=" + data, "CREDBUS_NATS_URL=" + url, "NATS_USER=worker", "NATS_PASSWORD=pw"})
		if err != nil {
			t.Fatal(err)
		}
		b := runBed(t, c)
		b.client = client
		workers = append(workers, b)
	}
	b := workers[0]
	const scope = "org:acme"
	for i := range 20 { // by either
		value := fmt.Sprint("v", i)
		b.put(t, scope, "db", value)
		if got, told := b.get(t, scope, "db"); told != nil || got != value {
			t.Errorf("got %q, %v", got, told)
		}
	}
	b.must(t, subjects.List, "", new(subjects.ListRequest), new(subjects.ListReply))
	b.awaitReplicas(t, []string{b.Name(), workers[1].Name()})
	if len(b.serviceStores(t)) != 1 {
		t.Error("the statistics of the service do not show the store")
	}
	events, err := client.SubscribeSync(subjects.DefaultPrefix.Event(scope, "db"))
	if err != nil {
		t.Fatal(err)
	}
	b.putExpiring(t, scope, "db", -time.Hour)
	if told := untilExpired(t, events); len(told) != 1 {
		t.Errorf("told %+v", told)
	}
	b.submit(t, scope, subjects.Job{ID: "j"}, item("db", "by a job"))
	if done := b.awaitJob(t, scope, "j"); done.Succeeded != 1 {
		t.Errorf("the job is %s: %s", done.State, done.Reason)
	}
	b.publishJob(t, subjects.DefaultPrefix.Job(subjects.ValidateBatch, scope, "all-0"), []byte(`{"batch":"all","all":true}`))
	b.awaitJob(t, scope, "all-0")
	if part := b.awaitJob(t, scope, "all-1"); part.Succeeded != 1 {
		t.Errorf("the job is %s: %s", part.State, part.Reason)
	}
	b.publishJob(t, subjects.DefaultPrefix.Job(subjects.StoreBatch, scope, "clear"), []byte(`{"items":[{"id":"x","value":"v"}]}`))
	if dead := b.awaitJob(t, scope, "clear"); !dead.Dead {
		t.Errorf("the job is %s", dead.State)
	}
	b.must(t, subjects.JobList, scope, &subjects.JobListRequest{Dead: true}, new(subjects.JobListReply))
	b.must(t, subjects.JobDrop, scope, &subjects.JobRequest{Target: subjects.Target{ID: "clear"}}, new(subjects.JobReply))
	b.must(t, subjects.Delete, scope, &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: "db"}}}, new(subjects.DeleteReply))
	log := new(subjects.AuditReply)
	b.must(t, subjects.Audit, subjects.Root, new(subjects.AuditRequest), log)
	wrote := make(map[string]bool)
	for _, block := range log.Blocks {
		wrote[block.Worker] = true
	}
	if !wrote[b.Name()] || !wrote[workers[1].Name()] {
		t.Errorf("the audit log has blocks of %v", wrote)
	}
	js, err := jetstream.New(client)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "all finished jobs to leave the queue", func() bool {
		queue, err := js.Stream(t.Context(), "CREDBUS_JOBS")
		return err == nil && queue.CachedInfo().State.Msgs == 0
	})
	for _, b := range workers {
		b.stop(t)
		if logs := b.logs.String(); strings.Contains(strings.ToLower(logs), "permissions violation") {
			t.Errorf("refused:\n%s", logs)
		}
	}
}

// serverOf starts a server with JetStream and what a configuration file says.
func serverOf(t *testing.T, file string, flags map[string]bool) (url string) {
	t.Helper()
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	options.FeatureFlags = flags
	return startServer(t, options).ClientURL()
}

// startServer starts a server with JetStream, at a port that is free.
func startServer(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.Port, options.NoSigs, options.NoLog, options.JetStream, options.StoreDir = "127.0.0.1", server.RANDOM_PORT, true, true, true, t.TempDir()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}
