package worker

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"credbus/internal/config"
	"credbus/internal/health"
	"credbus/subjects"
)

// startHealthy starts a worker that reports its health, at a free port.
func startHealthy(t *testing.T, dir string, settings ...string) *bed {
	t.Helper()
	c, err := config.Load(nil, append([]string{"CREDBUS_DATA_DIR=" + dir}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	if c.NATS.Embedded() {
		c.NATS.Port = -1
	}
	c.Health.Listen = "127.0.0.1:0"
	return runBed(t, c)
}

// ready asks the worker for its readiness.
func (b *bed) ready(t *testing.T) (ready bool, problems []health.Problem) {
	t.Helper()
	ready, problems, _ = b.readiness(t)
	return ready, problems
}

func (b *bed) readiness(t *testing.T) (ready bool, problems, warnings []health.Problem) {
	t.Helper()
	response, err := http.Get("http://" + b.health.Address() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var told struct {
		Ready    bool
		Problems []health.Problem
		Warnings []health.Problem
	}
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil {
		t.Fatal(err)
	}
	if told.Ready != (response.StatusCode == http.StatusOK) || told.Ready != (len(told.Problems) == 0) {
		t.Errorf("status %d says %+v", response.StatusCode, told)
	}
	return told.Ready, told.Problems, told.Warnings
}

// becomes waits until the worker is ready, or is not, and returns why.
func (b *bed) becomes(t *testing.T, want bool, within time.Duration) []health.Problem {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		ready, problems := b.ready(t)
		if ready == want {
			return problems
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is ready: %t, problems %+v", within, ready, problems)
		}
	}
}

// serviceStores returns the states of the stores as `nats service stats` shows
// them.
func (b *bed) serviceStores(t *testing.T) (stores []subjects.StoreState) {
	t.Helper()
	var data struct{ Stores []subjects.StoreState }
	b.serviceData(t, &data)
	return data.Stores
}

// serviceData decodes what the worker reports in its service statistics.
func (b *bed) serviceData(t *testing.T, data any) {
	t.Helper()
	var stats micro.Stats
	if err := json.Unmarshal(b.send(t, "$SRV.STATS.credbus."+b.Name(), nil).Data, &stats); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(stats.Endpoints[0].Data, data); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) cacheStats(t *testing.T) []subjects.ReplicaStats {
	t.Helper()
	reply := new(subjects.AdminCacheStatsReply)
	b.must(t, subjects.AdminCacheStats, "", new(subjects.AdminCacheStatsRequest), reply)
	return reply.Replicas
}

// The worker must report a failing store within 5 s, everywhere where it
// reports its state, and report its recovery without any request.
func TestFailingStoreIsTold(t *testing.T) {
	dir := t.TempDir()
	b := startHealthy(t, dir, "CREDBUS_STORE_BREAKER_DELAY=100ms")
	b.put(t, "org:acme", "db", "v")
	if ready, problems := b.ready(t); !ready {
		t.Fatalf("it is not ready to begin with: %+v", problems)
	}
	if stores := b.serviceStores(t); len(stores) != 1 || stores[0].State != subjects.StoreOK || stores[0].Type != "file" {
		t.Errorf("the service has the stores %+v", stores)
	}

	records := filepath.Join(dir, "credentials", "records")
	if err := os.Rename(records, records+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(records, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told, err := b.client.SubscribeSync(subjects.DefaultPrefix.StoreStatuses())
	if err != nil {
		t.Fatal(err)
	}
	status := func() (status subjects.StoreStatus) {
		t.Helper()
		msg, err := told.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := subjects.Decode(msg.Data, &status); err != nil || msg.Subject != "cred.v1.store_status.default" {
			t.Errorf("%s: %v", msg.Subject, err)
		}
		return status
	}
	broke := time.Now()
	var asking sync.WaitGroup
	defer asking.Wait()
	for _, id := range []subjects.ID{"one", "two", "three"} { // each call tries again and again
		asking.Go(func() {
			//nolint:errcheck // other tests check the answer
			b.client.Request(subjects.DefaultPrefix.Command(subjects.Retrieve, "org:acme"), subjects.Append(nil, retrieve(id)), requestTimeout)
		})
	}
	problems := b.becomes(t, false, time.Minute) // within 5 s on an idle machine: calls are tried again, with pauses
	if len(problems) != 1 || problems[0].Part != "store" || problems[0].Name != "default" || problems[0].State != subjects.StoreFailing ||
		problems[0].Error != string(subjects.StorageUnavailable) || problems[0].Refuses != subjects.RefusesReads || problems[0].Since.Before(broke.Truncate(time.Millisecond)) {
		t.Errorf("the problems are %+v", problems)
	}
	want := subjects.StoreState{Name: "default", Type: "file", State: subjects.StoreFailing, Since: problems[0].Since, Error: subjects.StorageUnavailable, Refuses: subjects.RefusesReads}
	if got := status(); got != (subjects.StoreStatus{StoreState: want, Replica: b.Name()}) {
		t.Errorf("subscribers are told %+v", got)
	}
	if stores := b.serviceStores(t); len(stores) != 1 || stores[0] != want {
		t.Errorf("the service has the stores %+v", stores)
	}
	if replicas := b.cacheStats(t); len(replicas) != 1 || len(replicas[0].Stores) != 1 || replicas[0].Stores[0] != want {
		t.Errorf("the statistics have %+v", replicas)
	}
	if response, err := http.Get("http://" + b.health.Address() + "/livez"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("it is not alive: %v, %v", response, err)
	}
	if !strings.Contains(b.logs.String(), "the store fails") {
		t.Error("the log does not tell")
	}

	if err := os.Remove(records); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(records+".away", records); err != nil {
		t.Fatal(err)
	}
	b.becomes(t, true, 5*time.Second)
	if got := status(); got.State != subjects.StoreOK || got.Error != "" || !got.Since.After(want.Since) {
		t.Errorf("subscribers are told %+v", got)
	}
	if stores := b.serviceStores(t); stores[0].State != subjects.StoreOK || stores[0].Error != "" || !stores[0].Since.After(want.Since) {
		t.Errorf("the service has the stores %+v", stores)
	}
	if value, told := b.get(t, "org:acme", "db"); told != nil || value != "v" {
		t.Errorf("%q, %v", value, told)
	}
}

// The same for a NATS server that ended.
func TestLostServerIsTold(t *testing.T) {
	server := newBed(t)
	b := startHealthy(t, t.TempDir(), "CREDBUS_STORE_DIR="+server.config.Store.Dir, "CREDBUS_KEYRING_FILE="+server.config.Keyring.File,
		"CREDBUS_NATS_CONTEXT="+server.server.WorkerContext())
	if ready, problems := b.ready(t); !ready {
		t.Fatalf("it is not ready to begin with: %+v", problems)
	}
	server.stop(t)
	parts := make(map[string]string)
	for _, p := range b.becomes(t, false, 5*time.Second) {
		parts[p.Part] = p.State
	}
	if parts["nats"] != "reconnecting" {
		t.Errorf("the problems are %v", parts)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	b.givenUp = b.Close(ctx) != nil // nobody is left to drain to
}

// denying is a worker that may not hear some subjects.
func denying(subjects ...string) []*server.User {
	return []*server.User{{Username: "worker", Password: "pw", Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{">"}},
		Subscribe: &server.SubjectPermission{Allow: []string{">"}, Deny: subjects},
	}}}
}

// A worker without a cache still needs the other replicas' acknowledgements for
// its writes.
func TestReadyWithoutACache(t *testing.T) {
	options := &server.Options{Users: denying()}
	s := startServer(t, options)
	b := startHealthy(t, t.TempDir(), "CREDBUS_CACHE_ENABLED=false", "NATS_URL="+strings.Replace(s.ClientURL(), "nats://", "nats://worker:pw@", 1))
	b.becomes(t, true, 10*time.Second)
	reload := func(denied ...string) {
		t.Helper()
		next := options.Clone()
		next.Users = denying(denied...)
		if err := s.ReloadOptions(next); err != nil {
			t.Fatal(err)
		}
	}
	reload("cred.v1.coherence.applied.>")
	problems := b.becomes(t, false, 10*time.Second)
	if !slices.ContainsFunc(problems, func(p health.Problem) bool { return p.Part == "events" }) {
		t.Errorf("the problems are %+v", problems)
	}
	reload()
	b.becomes(t, true, 10*time.Second)
}

// A worker whose subscriptions NATS refuses is not ready, names the subjects,
// and is ready again when NATS allows them.
func TestRefusedSubscriptionsAreTold(t *testing.T) {
	options := &server.Options{Users: denying("cred.v1.delete", "cred.v1.delete.>", "$SRV.>")}
	s := startServer(t, options)
	b := startHealthy(t, t.TempDir(), "NATS_URL="+strings.Replace(s.ClientURL(), "nats://", "nats://worker:pw@", 1))
	parts := func(problems []health.Problem) (parts []string) {
		for _, p := range problems {
			parts = append(parts, p.Part+" "+p.Name)
		}
		return parts
	}
	if got, want := parts(b.becomes(t, false, 0)), []string{"nats cred.v1.delete", "nats cred.v1.delete.>"}; !slices.Equal(got, want) {
		t.Errorf("the problems are %q, want %q", got, want)
	}
	const within = 90 * time.Second // pauses between tries grow to 30 s
	// Nine are for service discovery, which no command needs. The server
	// reports them one by one.
	for deadline := time.Now().Add(within); len(b.Refused()) < 11 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	if got := b.Refused(); len(got) != 11 {
		t.Errorf("refused are %q", got)
	}
	reload := func(denied ...string) {
		t.Helper()
		next := options.Clone()
		next.Users = denying(denied...)
		if err := s.ReloadOptions(next); err != nil {
			t.Fatal(err)
		}
	}
	reload()
	b.becomes(t, true, within)
	for denied, part := range map[string]string{
		"cred.v1.coherence.report":    "nats cred.v1.coherence.report",
		"cred.v1.coherence.applied.>": "cache ",
		"cred.v1.coherence.here":      "cache ",
		"cred.v1.coherence.inbox.>":   "nats cred.v1.coherence.inbox.>",
	} {
		t.Log("without", denied)
		reload(denied)
		if got := parts(b.becomes(t, false, within)); !slices.Contains(got, part) {
			t.Errorf("without %s the problems are %q, want %q", denied, got, part)
		}
		reload()
		b.becomes(t, true, within)
	}
}

// A worker whose replies to the inboxes of a tenant NATS refuses is not ready,
// until NATS allows them. A client that names one forbidden inbox has no
// effect.
func TestRefusedRepliesAreTold(t *testing.T) {
	users := func(denied ...string) []*server.User {
		users := denying()
		users[0].Permissions.Publish.Deny = append(denied, "_INBOX_b.forbidden")
		return append(users, &server.User{Username: "client", Password: "pw"})
	}
	options := &server.Options{Users: users("_INBOX_a.>")}
	s := startServer(t, options)
	url := func(user string) string { return strings.Replace(s.ClientURL(), "nats://", "nats://"+user+":pw@", 1) }
	b := startHealthy(t, t.TempDir(), "NATS_URL="+url("worker"), "CREDBUS_NATS_INBOX_PREFIXES=_INBOX_a,_INBOX_b")
	refused := func(problems []health.Problem) bool {
		return len(problems) == 1 && problems[0].Name == "_INBOX_a.>" && problems[0].State == "replies refused"
	}
	if problems := b.becomes(t, false, 0); !refused(problems) {
		t.Errorf("the problems are %+v", problems)
	}
	reload := func(denied ...string) {
		t.Helper()
		next := options.Clone()
		next.Users = users(denied...)
		if err := s.ReloadOptions(next); err != nil {
			t.Fatal(err)
		}
	}
	const within = 30 * time.Second
	reload()
	b.becomes(t, true, within)
	client, err := nats.Connect(url("client"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := func(inbox string) {
		t.Helper()
		if err := client.PublishRequest("cred.v1.retrieve.org:acme", inbox, []byte(`{"id":"db"}`)); err != nil {
			t.Fatal(err)
		}
		if err := client.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	ask("_INBOX_b.forbidden")
	reload("_INBOX_a.>")
	ask("_INBOX_a.x") // now the worker finds out
	if problems := b.becomes(t, false, within); !refused(problems) {
		t.Errorf("the problems are %+v", problems)
	}
}

// A stopping worker must get no more work.
func TestStoppingIsTold(t *testing.T) {
	b := startHealthy(t, t.TempDir(), "CREDBUS_STORE_TYPE=memory")
	b.stopping.Store(true) // as the first thing that Close does
	if ready, problems := b.ready(t); ready || problems[0].State != "stopping" {
		t.Errorf("it is ready: %t, %+v", ready, problems)
	}
	b.stop(t)
	if _, err := http.Get("http://" + b.health.Address() + "/livez"); err == nil {
		t.Error("it still answers after Close")
	}
}
