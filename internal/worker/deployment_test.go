package worker

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/coherence"
	"credbus/internal/config"
	"credbus/internal/deployment"
	"credbus/internal/store/aws/awstest"
	"credbus/internal/store/file"
	"credbus/subjects"
)

// joining is the configuration of a second worker beside first.
func joining(t *testing.T, first *bed, settings ...string) *config.Config {
	t.Helper()
	c, err := config.Load(nil, append([]string{
		"CREDBUS_DATA_DIR=" + t.TempDir(),
		"CREDBUS_NATS_CONTEXT=" + first.server.WorkerContext(),
		"CREDBUS_KEYRING_FILE=" + first.config.Keyring.File,
	}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Two hosts, each with its own directory, would answer half of the requests
// from one and half from the other. So the second worker must stop and say why.
func TestWorkersWithStoresOfTheirOwn(t *testing.T) {
	first := newBed(t)
	first.put(t, "org:acme", "db", "v")
	refused := func(what string, c *config.Config, want ...string) {
		t.Helper()
		w, err := Start(t.Context(), c, slog.New(slog.DiscardHandler))
		if err == nil {
			w.Close(t.Context()) //nolint:errcheck // it should not run
			t.Fatalf("%s: it started", what)
		}
		for _, text := range want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error %q does not say %q", what, err, text)
			}
		}
	}
	refused("a directory of its own", joining(t, first), "store default: the deployment has file file:", "--deployment.change")
	refused("a store in memory", joining(t, first, "CREDBUS_STORE_TYPE=memory"), "store default")
	refused("with deployment.change while another worker runs",
		joining(t, first, "CREDBUS_STORE_TYPE=memory", "CREDBUS_DEPLOYMENT_CHANGE=true"), "store default", "stop all of them first")
	refused("a keyring of its own", joining(t, first, "CREDBUS_STORE_DIR="+first.config.Store.Dir,
		"CREDBUS_KEYRING_FILE="+newBed(t).config.Keyring.File), "keyring.file: the deployment has keys")
	if value, told := first.get(t, "org:acme", "db"); told != nil || value != "v" {
		t.Errorf("the first worker after that: %q, %v", value, told)
	}
	second := runBed(t, joining(t, first, "CREDBUS_STORE_DIR="+first.config.Store.Dir))
	second.client = first.client
	if value, told := second.get(t, "org:acme", "db"); told != nil || value != "v" {
		t.Errorf("a worker that agrees: %q, %v", value, told)
	}
}

// A machine cloned with its data has a directory with the same identity. Its
// worker must stop, at its start or at its next check, and the first one must
// continue.
func TestWorkersWithCopiesOfOneStore(t *testing.T) {
	first := newBed(t)
	first.put(t, "org:acme", "db", "v")
	clone := filepath.Join(t.TempDir(), "clone")
	if err := os.CopyFS(clone, os.DirFS(first.config.Store.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(clone, 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := Start(t.Context(), joining(t, first, "CREDBUS_STORE_DIR="+clone), slog.New(slog.DiscardHandler))
	if err == nil {
		w.Close(t.Context()) //nolint:errcheck // it should not run
		t.Fatal("a worker with a copy of the store started")
	}
	if !strings.Contains(err.Error(), "one was copied from the other") || !strings.Contains(err.Error(), first.name) {
		t.Errorf("the error is %v", err)
	}
	second := runBed(t, joining(t, first, "CREDBUS_STORE_DIR="+first.config.Store.Dir))
	for name, worker := range map[string]*Worker{"the first": first.Worker, "the second": second.Worker} {
		if err := worker.checkDeployment(t.Context()); err != nil {
			t.Errorf("%s worker of two that share a directory: %v", name, err)
		}
	}
	// Like a third worker that started when nobody answered, and asks later.
	copied, err := file.New(file.Config{Dir: clone})
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close(t.Context())
	third := *first.places
	third.Worker = "third"
	third.Places = []deployment.Place{{Name: "default", Identity: first.places.Places[0].Identity, Store: copied}}
	third.Started = time.Now()
	if err := third.Check(t.Context()); !deployment.IsMisfit(err) {
		t.Errorf("the youngest worker, with a copy, finds %v", err)
	}
	third.Started = first.started.Add(-time.Hour)
	if err := third.Check(t.Context()); err != nil {
		t.Errorf("the oldest worker, with a copy, finds %v", err)
	}
}

// Workers with different AWS accounts must notice. A worker that cannot learn
// its account still starts.
func TestWorkersWithAccountsOfTheirOwn(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for variable, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "worker", "AWS_SECRET_ACCESS_KEY": "secret-key-of-as-many-characters-as-real", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(variable, value)
	}
	settings := func(silent bool) []string {
		region := awstest.New()
		region.AddUser("worker", awstest.Administrator)
		if silent {
			region.Fail("GetCallerIdentity", -1, awstest.Answer(503, "text/html", "not here"))
		}
		return []string{
			"CREDBUS_STORE_TYPE=aws", "CREDBUS_STORE_AWS_REGION=" + awstest.Region,
			"CREDBUS_STORE_AWS_ENDPOINT=" + awstest.NewBed(t, region).URL(),
		}
	}
	first := startBed(t, t.TempDir(), settings(false)...)
	w, err := Start(t.Context(), joining(t, first, settings(false)...), slog.New(slog.DiscardHandler))
	if err == nil {
		w.Close(t.Context()) //nolint:errcheck // it should not run
		t.Fatal("a worker with an account of its own started")
	}
	if !strings.Contains(err.Error(), "store default: the deployment has aws aws:aws:eu-central-1:"+awstest.Account) {
		t.Errorf("the error is %v", err)
	}
	runBed(t, joining(t, first, settings(true)...))
}

// A running worker ends if its deployment is no longer the one that it joined.
func TestDeploymentChangesUnderWorker(t *testing.T) {
	b := newBed(t)
	if err := b.checkDeployment(t.Context()); err != nil {
		t.Fatal(err)
	}
	own, err := b.deploymentRecord(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own.Routes["org:acme"] = "elsewhere"
	if err := b.deployment.Check(t.Context(), own); err == nil {
		t.Fatal("another route agrees with the record")
	} else {
		b.fail(err)
	}
	if err := <-b.Failed(); !strings.Contains(err.Error(), "store.routes of org:acme") {
		t.Errorf("it ends with %v", err)
	}
}

// heard sends the worker a ping of another one.
func (b *bed) heard(t *testing.T, ping subjects.Event) {
	t.Helper()
	ping.Kind = coherence.Ping
	at, err := b.stream.Append(t.Context(), &ping)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.replica.Await(t.Context(), at); err != nil {
		t.Fatal(err)
	}
}

// A worker that receives another version of the protocol reports it to
// operators, and checks at once whether it still fits the record. If it does
// not, it stops.
func TestAnotherProtocolIsHeard(t *testing.T) {
	b := newBed(t)
	if facts := fmt.Sprint(b.facts()); strings.Contains(facts, "heard") {
		t.Errorf("facts before: %s", facts)
	}
	for range 2 {
		b.heard(t, subjects.Event{Replica: "newer", Protocol: coherence.Protocol + 1, Lease: time.Hour})
	}
	facts := fmt.Sprint(b.facts())
	for _, want := range []string{fmt.Sprintf("{heard protocol %d of newer}", coherence.Protocol+1), "{heard absurd leases 2}"} {
		if !strings.Contains(facts, want) {
			t.Errorf("no %s in %s", want, facts)
		}
	}
	if n := strings.Count(b.logs.String(), "another version of the protocol"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	if err := b.checkDeployment(t.Context()); err != nil {
		t.Fatal(err)
	}

	// The deployment changed to another version while this worker was cut off.
	js, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), b.deploymentConfig().Stream)
	if err != nil {
		t.Fatal(err)
	}
	subject := b.config.NATS.Prefix.Coherence("deployment")
	msg, err := stream.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	var record deployment.Record
	if err := json.Unmarshal(msg.Data, &record); err != nil {
		t.Fatal(err)
	}
	record.Protocol = coherence.Protocol + 2
	body, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), subject, body); err != nil {
		t.Fatal(err)
	}
	b.heard(t, subjects.Event{Replica: "next", Protocol: record.Protocol})
	select {
	case err := <-b.Failed():
		if !strings.Contains(err.Error(), "the protocol between workers") {
			t.Errorf("it stops with %v", err)
		}
	case <-time.After(checkEvery / 2):
		t.Error("it goes on")
	}
}
