package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"credbus/client"
	"credbus/internal/config"
	"credbus/internal/worker"
	"credbus/subjects"
)

func startEmbedded(t *testing.T, dir string, settings ...string) {
	t.Helper()
	cfg, err := config.Load(nil, append([]string{"HOME=" + dir, "CREDBUS_DATA_DIR=" + dir, "CREDBUS_STORE_TYPE=memory"}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATS.Port = -1 // any that is free
	w, err := worker.Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// Jobs from their submission to their end, by a client with only the permissions of
// clients.
func TestJobs(t *testing.T) {
	c := connect(t, "", &client.Config{Context: embedded(t)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const n = 250
	items := storeItems(n, "s3cret")
	items[7].Scope = "org:other" // out of reach
	b, err := c.StoreJob(ctx, "org:acme", items, nil)
	if err != nil {
		t.Fatal(err)
	}
	status, err := b.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !status.Ended() || status.AllSucceeded() || len(status.Jobs) != 3 || status.States[client.JobDone] != 3 ||
		status.Items != n || status.Succeeded != n-1 || status.Failed != 1 || status.Missing != 0 {
		t.Errorf("status is %+v", status)
	}
	for i := range status.Jobs {
		if status.Jobs[i].Results != nil {
			t.Error("results are kept that nobody asked for")
		}
	}
	if c.Revision().Compare(status.Jobs[0].Reached) < 0 {
		t.Error("the client may read older state than the jobs wrote")
	}
	i := 0
	for result, err := range b.Results(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if i == 7 {
			if result.Err == nil {
				t.Error("an item out of reach succeeded")
			}
		} else if result.ID != items[i].ID || result.Scope != "org:acme" || result.Version == "" || result.Err != nil {
			t.Errorf("result %d is %+v", i, result)
		}
		i++
	}
	if i != n {
		t.Errorf("%d results", i)
	}

	// By another process, by name.
	again := c.Submission("org:acme", b.ID)
	if status, err := again.Wait(ctx); err != nil || status.Succeeded != n-1 || len(status.Jobs) != 3 {
		t.Errorf("reopened: %+v, %v", status, err)
	}
	if _, err := c.Submission("org:acme", "nobody-knows").Status(ctx); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("an unknown submission: %v", err)
	}
	if err := again.Cancel(ctx); err != nil {
		t.Errorf("cancel what has ended: %v", err)
	}
	job, err := c.Job(ctx, "org:acme", b.ID+"-1")
	if err != nil || job.State != client.JobDone || len(job.Results) != 100 {
		t.Errorf("job 1: %+v, %v", job, err)
	}

	// Retrieve checks, and a selection.
	retrieves := []client.RetrieveItem{{ID: "id-1"}, {ID: "nowhere"}}
	if b, err = c.RetrieveJob(ctx, "org:acme", retrieves, &client.JobOptions{Submission: "check"}); err != nil {
		t.Fatal(err)
	}
	if status, err = b.Wait(ctx); err != nil || status.Succeeded != 1 || status.Failed != 1 {
		t.Errorf("retrieve: %+v, %v", status, err)
	}
	b, err = c.SelectJob(ctx, "org:acme", client.CommandDelete, client.Filter{IDPrefix: "id-"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, err = b.Wait(ctx); err != nil || status.Succeeded != n-1 || !status.AllSucceeded() || len(status.Jobs) != 1+3 {
		t.Errorf("selection: %+v, %v", status, err)
	}
	i = 0
	for result, err := range b.Results(ctx) {
		if err != nil || result.Err != nil {
			t.Fatal(result, err)
		}
		i++
	}
	for left := range c.List(ctx, "org:acme", nil) {
		t.Errorf("%s is left", left.ID)
	}
	if i != n-1 {
		t.Errorf("%d results of the selection", i)
	}

	seen := make(map[client.ID]bool)
	for job, err := range c.Jobs(ctx, "org:acme", &client.JobListOptions{Submission: b.ID, PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		seen[job.ID] = job.State == client.JobDone
	}
	if len(seen) != 4 {
		t.Errorf("listed: %v", seen)
	}
}

func TestJobWatchAndCancel(t *testing.T) {
	c := connect(t, "", &client.Config{Context: embedded(t)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	later := &client.JobOptions{NotBefore: time.Now().Add(time.Hour)}
	b, err := c.ValidateJob(ctx, "org:acme", targets(250), later)
	if err != nil {
		t.Fatal(err)
	}
	watching, err := b.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	yielded := 0
	var last client.SubmissionStatus
	for status, err := range watching {
		if err != nil {
			t.Fatal(err)
		}
		if yielded++; yielded == 1 {
			if status.Ended() || status.States[client.JobAccepted] != 3 {
				t.Errorf("at first %+v", status)
			}
			if err := c.Submission("org:acme", b.ID).Cancel(ctx); err != nil {
				t.Fatal(err)
			}
		}
		last = status
	}
	if yielded < 2 || last.States[client.JobCancelled] != 3 || !last.Ended() || last.AllSucceeded() {
		t.Errorf("%d times, at last %+v", yielded, last)
	}

	// A loop that breaks, and one whose context ends.
	if b, err = c.ValidateJob(ctx, "org:acme", targets(1), later); err != nil {
		t.Fatal(err)
	}
	if watching, err = b.Watch(ctx); err != nil {
		t.Fatal(err)
	}
	for range watching {
		break
	}
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if _, err := b.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait with too little time: %v", err)
	}
	// And one that ends because the client closes.
	if watching, err = b.Watch(ctx); err != nil {
		t.Fatal(err)
	}
	for _, err = range watching {
		if err == nil {
			c.Close()
		}
	}
	if !errors.Is(err, client.ErrClosed) {
		t.Errorf("watching while the client is closed: %v", err)
	}
}

// A tenant with the permissions that docs/jobs.md lists submits, follows, and ends
// jobs of its own, and no others.
func TestJobPermissions(t *testing.T) {
	commands := []subjects.Command{subjects.SealKey, subjects.JobShow, subjects.JobList, subjects.JobCancel, subjects.JobRetry, subjects.JobDrop}
	publish := []string{"cred.v1.job.*.org:acme.>"}
	for _, command := range commands {
		subject := subjects.DefaultPrefix.Command(command, "org:acme")
		publish = append(publish, subject, subject+".>")
	}
	ns := startServer(t, &server.Options{
		NoAuthUser: "worker",
		Users: []*server.User{{Username: "worker", Password: "pw"}, {Username: "tenant", Password: "pw", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", "cred.v1.job_status.org:acme.>"}},
		}}},
	})
	startWorker(t, ns.ClientURL())
	c := connect(t, ns.ClientURL(), &client.Config{Retries: -1, NATSOptions: []nats.Option{nats.UserInfo("tenant", "pw")}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, scope := range []client.Scope{"org:acme", "org:acme/team:eng"} {
		b, err := c.StoreJob(ctx, scope, storeItems(150, "s3cret"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, err := b.Wait(ctx); err != nil || !status.AllSucceeded() {
			t.Errorf("%s: %+v, %v", scope, status, err)
		}
		if b, err = c.SelectJob(ctx, scope, client.CommandValidate, client.Filter{}, &client.JobOptions{NotBefore: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if err := b.Cancel(ctx); err != nil {
			t.Error(err)
		}
	}
	jobs := 0
	for _, err := range c.Jobs(ctx, "org:acme", nil) {
		if err != nil {
			t.Fatal(err)
		}
		jobs++
	}
	if jobs != 6 {
		t.Errorf("%d jobs are listed", jobs)
	}
	if _, err := c.Job(ctx, "org:other", "x"); !errors.Is(err, client.ErrPermissionDenied) {
		t.Errorf("another's job: %v", err)
	}
	if _, err := c.StoreJob(ctx, "org:other", storeItems(1, "s3cret"), nil); !errors.Is(err, client.ErrPermissionDenied) {
		t.Errorf("a job at another's scope: %v", err)
	}
}

// The client asks for statuses that were lost while the server restarted.
func TestJobWaitThroughARestart(t *testing.T) {
	dir := t.TempDir()
	ns := startServer(t, &server.Options{StoreDir: dir})
	url := ns.ClientURL()
	cfg, err := config.Load(nil, []string{"HOME=" + dir, "CREDBUS_NATS_URL=" + url, "CREDBUS_STORE_TYPE=memory", "CREDBUS_DATA_DIR=" + t.TempDir(), "CREDBUS_JOBS_ACK_WAIT=1s"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	c := connect(t, url, &client.Config{NATSOptions: []nats.Option{nats.ReconnectWait(50 * time.Millisecond)}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := c.ValidateJob(ctx, "org:acme", targets(250), &client.JobOptions{NotBefore: time.Now().Add(2 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	watching, err := b.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	restarted := false
	var last client.SubmissionStatus
	for status, err := range watching {
		if err != nil {
			t.Fatal(err)
		}
		if last = status; !restarted {
			restarted = true
			port := ns.Addr().(*net.TCPAddr).Port
			ns.Shutdown()
			ns.WaitForShutdown()
			startServer(t, &server.Options{StoreDir: dir, Port: port})
		}
	}
	if last.States[client.JobDone] != 3 || last.Succeeded != 250 {
		t.Errorf("at last %+v", last)
	}
}

// The status counts the jobs of a submission that were never accepted.
func TestJobMissing(t *testing.T) {
	file := embedded(t)
	c := connect(t, "", &client.Config{Context: file})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	publish(t, file, "cred.v1.job.validate_batch.org:acme.half-0", `{"batch":"half","parts":3,"items":[{"id":"a"}]}`)
	publish(t, file, "cred.v1.job.validate_batch.org:acme.half-1", `{"batch":"half","parts":3,"items":[{"id":"a"}]}`)
	// Neither belongs to that submission, whatever its body says.
	publish(t, file, "cred.v1.job.validate_batch.org:acme.half-x", `{"batch":"half","parts":3,"items":[{"id":"a"}]}`)
	publish(t, file, "cred.v1.job.validate_batch.org:acme.half-2", `{"batch":"whole","parts":3,"items":[{"id":"a"}]}`)
	for range 2 {
		status, err := c.Submission("org:acme", "half").Wait(ctx)
		if err != nil || status.Missing != 1 || len(status.Jobs) != 3 || !status.Ended() || status.AllSucceeded() {
			t.Errorf("%+v, %v", status, err)
		}
	}
}

// A job that is published by hand is a submission of its own.
func TestJobByHand(t *testing.T) {
	file := embedded(t)
	c := connect(t, "", &client.Config{Context: file})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 3 {
		store(t, c, "org:acme", client.ID(fmt.Sprintf("id-%d", i)), "s3cret", nil)
	}
	publish(t, file, "cred.v1.job.validate_batch.org:acme.nightly", `{"all":true}`)
	status, err := c.Submission("org:acme", "nightly").Wait(ctx)
	if err != nil || len(status.Jobs) != 2 || status.Succeeded != 3 {
		t.Errorf("%+v, %v", status, err)
	}
}

// Dead letters are kept, retried, and dropped.
func TestJobDeadLetters(t *testing.T) {
	file := embedded(t, "CREDBUS_JOBS_ATTEMPTS=1")
	c := connect(t, "", &client.Config{Context: file})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	publish(t, file, "cred.v1.job.store_batch.org:acme.clear", `{"job":"clear","sealed":"nonsense","sealed_to":"nobody"}`)
	status, err := c.Submission("org:acme", "clear").Wait(ctx)
	if err != nil || status.States[client.JobFailed] != 1 || !status.Jobs[0].Dead {
		t.Fatalf("%+v, %v", status, err)
	}
	dead := 0
	for job, err := range c.Jobs(ctx, "org:acme", &client.JobListOptions{Dead: true}) {
		if err != nil || job.ID != "clear" {
			t.Errorf("%+v, %v", job, err)
		}
		dead++
	}
	if dead != 1 {
		t.Errorf("%d dead letters", dead)
	}
	if _, err := c.RetryJob(ctx, "org:acme", "clear"); err != nil {
		t.Error(err)
	}
	if status, err = c.Submission("org:acme", "clear").Wait(ctx); err != nil || !status.Jobs[0].Dead {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := c.DropJob(ctx, "org:acme", "clear"); err != nil {
		t.Error(err)
	}
	for _, ask := range []func(context.Context, client.Scope, client.ID) (*client.JobStatus, error){c.RetryJob, c.DropJob} {
		if _, err := ask(ctx, "org:acme", "clear"); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("a dropped letter: %v", err)
		}
	}
}

// TestDocumentedJobs runs the commands in docs/jobs.md.
func TestDocumentedJobs(t *testing.T) {
	file := embedded(t)
	nc := dialContext(t, file)
	page, err := os.ReadFile(filepath.Join("..", "docs", "jobs.md"))
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	for line := range strings.Lines(string(page)) {
		request, found := strings.CutPrefix(strings.TrimSpace(line), "$ nats req ")
		subject, body, quoted := strings.Cut(request, " '")
		if !found || !quoted {
			continue
		}
		reply, err := nc.Request(subject, []byte(strings.TrimSuffix(body, "'")), 5*time.Second)
		if err != nil || len(reply.Header) > 0 || bytes.Contains(reply.Data, []byte(`"error"`)) {
			t.Errorf("%s: %s %v", line, reply.Data, err)
		}
		done++
	}
	if done < 3 {
		t.Errorf("%d examples were found", done)
	}
	c := connect(t, "", &client.Config{Context: file})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for id, items := range map[client.ID]int{"nightly-0102": 0, "check": 2} {
		if status, err := c.Submission("org:acme", id).Wait(ctx); err != nil || status.States[client.JobDone] != 1 || status.Items != items {
			t.Errorf("%s: %+v, %v", id, status, err)
		}
	}
}

// publish publishes a job as the nats command does.
func publish(t *testing.T, contextFile, subject, body string) {
	t.Helper()
	nc := dialContext(t, contextFile)
	if _, err := nc.Request(subject, []byte(body), 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

func dialContext(t *testing.T, contextFile string) *nats.Conn {
	t.Helper()
	nc, _, err := natscontext.Connect(contextFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}
