package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"credbus/internal/config"
	"credbus/subjects"
)

// roles are the users of docs/permissions.md, on a server that has them, with a worker.
type roles struct {
	url    string
	worker *bed
}

// inboxes are those that docs/permissions.md gives to the roles.
var inboxes = map[string]string{"operator": "_INBOX_ops"}

func startRoles(t *testing.T) roles {
	t.Helper()
	page, err := os.ReadFile("../../docs/permissions.md")
	if err != nil {
		t.Fatal(err)
	}
	workerConf, err := os.ReadFile("../../deploy/jetstream/worker.conf")
	if err != nil {
		t.Fatal(err)
	}
	var conf, users strings.Builder
	fmt.Fprintln(&conf, strings.Replace(string(workerConf), `"_INBOX.>"`, `"_INBOX_acme.>", "_INBOX_ops.>"`, 1))
	for _, block := range regexp.MustCompile("(?s)```text\n(credbus_(\\w+): .*?)```").FindAllSubmatch(page, -1) {
		fmt.Fprintf(&conf, "%s\n", block[1])
		fmt.Fprintf(&users, "{user: %s, password: pw, permissions: $credbus_%[1]s}\n", block[2])
	}
	fmt.Fprintf(&conf, "authorization: {users: [{user: worker, password: pw, permissions: $credbus_worker}\n%s]}\n", users.String())
	file := filepath.Join(t.TempDir(), "server.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	url := serverOf(t, file, nil)
	c, err := config.Load(nil, []string{onBucket, "CREDBUS_DATA_DIR=" + t.TempDir(), "CREDBUS_NATS_URL=" + url,
		"CREDBUS_NATS_INBOX_PREFIXES=_INBOX_acme,_INBOX_ops", "NATS_USER=worker", "NATS_PASSWORD=pw"})
	if err != nil {
		t.Fatal(err)
	}
	return roles{url, runBed(t, c)}
}

func (r roles) connect(t *testing.T, name string) *nats.Conn {
	t.Helper()
	inbox := inboxes[name]
	if inbox == "" {
		inbox = "_INBOX_acme"
	}
	nc, err := nats.Connect(r.url, nats.UserInfo(name, "pw"), nats.CustomInboxPrefix(inbox), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// may reports whether the server allows a role something: a refusal comes
// before the answer to the flush, and is then the last error.
func may(t *testing.T, as *nats.Conn, do func() error) bool {
	t.Helper()
	before := as.LastError()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if err := as.FlushTimeout(requestTimeout); err != nil {
		t.Fatal(err)
	}
	return as.LastError() == before
}

// Every role of docs/permissions.md has exactly the permissions on that page,
// at its scope and below: no other command, no other scope, nothing of workers.
func TestRoles(t *testing.T) {
	r := startRoles(t)
	sealed := []subjects.Command{subjects.SealKey}
	read := []subjects.Command{subjects.Retrieve, subjects.List, subjects.Describe, subjects.Validate, subjects.RetrieveBatch, subjects.ValidateBatch, subjects.CacheStats}
	write := []subjects.Command{subjects.Store, subjects.Patch, subjects.Delete, subjects.StoreBatch, subjects.PatchBatch, subjects.DeleteBatch, subjects.ClearCache}
	jobs := []subjects.Command{subjects.JobShow, subjects.JobList, subjects.JobCancel, subjects.JobRetry, subjects.JobDrop}
	if all := len(sealed) + len(read) + len(write) + len(jobs); all != len(subjects.Commands) {
		t.Fatalf("%d commands belong to a role, there are %d", all, len(subjects.Commands))
	}
	const prefix = subjects.DefaultPrefix
	own := []subjects.Scope{"org:acme", "org:acme/team:eng", "org:acme/team:eng/service:api"}
	others := []subjects.Scope{subjects.Root, "org:acme2", "org:acm", "org:ACME", "org:other", "org:other/team:eng", "team:eng"}
	attempts, wrong := 0, 0
	for name, commands := range map[string][]subjects.Command{
		"reader": slices.Concat(sealed, read), "writer": slices.Concat(sealed, read, write), "submitter": slices.Concat(sealed, jobs), "subscriber": nil, "operator": subjects.Commands,
	} {
		as, everywhere := r.connect(t, name), name == "operator"
		try := func(what string, want bool, do func() error) {
			t.Helper()
			if attempts++; may(t, as, do) != want {
				wrong++
				t.Errorf("a %s may %s: %v, want %v", name, what, !want, want)
			}
		}
		publish := func(subject string, want bool) {
			t.Helper()
			try("publish to "+subject, want, func() error { return as.Publish(subject, nil) })
		}
		listen := func(subject string, want bool) {
			t.Helper()
			try("listen to "+subject, want, func() error { _, err := as.SubscribeSync(subject); return err })
		}
		submits, hears := name == "submitter" || everywhere, name == "subscriber" || everywhere
		for i, scope := range slices.Concat(own, others) {
			mine := i < len(own) || everywhere
			for _, command := range subjects.Commands {
				publish(prefix.Command(command, scope), mine && slices.Contains(commands, command))
			}
			for _, command := range subjects.AdminCommands {
				publish(prefix.Command(command, scope), everywhere)
			}
			for _, command := range subjects.JobCommands {
				publish(prefix.Job(command, scope, "j"), mine && submits)
			}
			publish(prefix.Event(scope, "db"), false)
			publish(prefix.EventEntry(scope, "db"), false)
			publish(prefix.JobStatus(scope, "j"), false)
			listen(prefix.Events(scope), mine && hears)
			listen(prefix.EventEntries(scope), false)
			listen(prefix.JobStatus(scope, "j"), mine && submits)
			listen(prefix.Command(subjects.Store, scope), false)
		}
		for _, subject := range []string{
			prefix.Coherence("hello"), prefix.Coherence("report"), prefix.Coherence("log.ping.x"), prefix.Inbox() + ".x", prefix.StoreStatus("default"),
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.MSG.GET.CREDBUS_JOBS", "$JS.API.STREAM.DELETE.CREDBUS",
			"$KV.CREDBUS_CREDENTIALS.x", "$KV.CREDBUS_JOBS_KEYS.x", "_INBOX.x", "_INBOX_other.x",
		} {
			publish(subject, false)
		}
		publish("$SRV.STATS", everywhere)
		listen(prefix.StoreStatuses(), everywhere)
		for _, subject := range []string{string(prefix) + ".>", prefix.Coherence(">"), prefix.Inbox() + ".>", "_INBOX.>", "_INBOX_other.>", "$KV.>", "$JS.EVENT.>", ">"} {
			listen(subject, false)
		}
	}
	fmt.Printf("roles: attempts=%d wrong=%d\n", attempts, wrong)
}

// With these permissions the roles can do their work.
func TestRolesWork(t *testing.T) {
	r := startRoles(t)
	const scope, prefix = subjects.Scope("org:acme"), subjects.DefaultPrefix
	as := func(name string) *bed { return &bed{Worker: r.worker.Worker, client: r.connect(t, name)} }
	writer, reader, submitter, subscriber, operator := as("writer"), as("reader"), as("submitter"), as("subscriber"), as("operator")
	events, err := subscriber.client.SubscribeSync(prefix.Events(scope))
	if err != nil {
		t.Fatal(err)
	}
	if err := subscriber.client.Flush(); err != nil {
		t.Fatal(err)
	}
	writer.put(t, scope, "db", "v")
	if value, told := reader.get(t, scope, "db"); told != nil || value != "v" {
		t.Errorf("the reader gets %q, %v", value, told)
	}
	if _, err := events.NextMsg(requestTimeout); err != nil {
		t.Errorf("the subscriber hears nothing: %v", err)
	}
	submitter.submit(t, scope, subjects.Job{ID: "j"}, item("db", "by a job"))
	if done := submitter.awaitJob(t, scope, "j"); done.Succeeded != 1 {
		t.Errorf("the job is %s: %s", done.State, done.Reason)
	}
	operator.must(t, subjects.AdminCacheStats, subjects.Root, new(subjects.AdminCacheStatsRequest), new(subjects.AdminCacheStatsReply))
	operator.must(t, subjects.Keys, subjects.Root, new(subjects.KeysRequest), new(subjects.KeysReply))
	if len(operator.serviceStores(t)) != 1 {
		t.Error("the operator gets no state of the store")
	}
}
