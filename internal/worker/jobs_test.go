package worker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/hybrid"
	"credbus/subjects"
)

// submit publishes a job of stores as a client may, and returns once it is durable.
func (b *bed) submit(t testing.TB, scope subjects.Scope, job subjects.Job, items ...subjects.StoreItem) {
	t.Helper()
	subject, body := b.sealed(t, scope, job, items...)
	b.publishJob(t, subject, body)
}

// sealed is the message of such a job.
func (b *bed) sealed(t testing.TB, scope subjects.Scope, job subjects.Job, items ...subjects.StoreItem) (subject string, body []byte) {
	t.Helper()
	return sealed(t, b, subjects.StoreBatch, scope, job, items...)
}

// sealed is the message of a job of any command.
func sealed[T any, P subjects.Item[T]](t testing.TB, b *bed, command subjects.Command, scope subjects.Scope, job subjects.Job, items ...T) (subject string, body []byte) {
	t.Helper()
	var key subjects.SealKeyReply
	b.must(t, subjects.SealKey, scope, &subjects.SealKeyRequest{}, &key)
	public, err := hybrid.ParsePublicKey(key.Key)
	if err != nil {
		t.Fatal(err)
	}
	subject = subjects.DefaultPrefix.Job(command, scope, job.ID)
	job.SealedTo = key.KeyID
	job.Submitted = key.Now
	inner := &subjects.JobOf[T, P]{Job: job, Request: subjects.BatchRequest[T, P]{Items: items}}
	inner.SealedTo = ""
	job.Sealed, err = public.Seal(subjects.Append(nil, inner), subject)
	if err != nil {
		t.Fatal(err)
	}
	return subject, subjects.Append(nil, &job)
}

// publishJob awaits the acknowledgement of the stream, which has no error header.
func (b *bed) publishJob(t testing.TB, subject string, body []byte) {
	t.Helper()
	if ack := b.send(t, subject, body); !strings.Contains(string(ack.Data), `"seq":`) {
		t.Fatalf("%s: %s", subject, ack.Data)
	}
}

// awaitJob follows a job to its end.
func (b *bed) awaitJob(t testing.TB, scope subjects.Scope, id subjects.ID) *subjects.JobStatus {
	t.Helper()
	sub, err := b.client.SubscribeSync(subjects.DefaultPrefix.JobStatus(scope, id))
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection ends with the test
	var now subjects.JobReply
	b.must(t, subjects.JobShow, scope, &subjects.JobRequest{Target: subjects.Target{ID: id}}, &now)
	status := &now.JobStatus
	for !status.State.Ended() {
		msg, err := sub.NextMsg(requestTimeout)
		if err != nil {
			t.Fatalf("job %s: %v", id, err)
		}
		status = new(subjects.JobStatus)
		if err := subjects.Decode(msg.Data, status); err != nil {
			t.Fatal(err)
		}
	}
	return status
}

// TestJobs submits, follows and requests jobs like clients, with only their
// permissions, and reads the results.
func TestJobs(t *testing.T) {
	const n = 10
	canary := newCanary()
	b := newBed(t)
	var items []subjects.StoreItem
	for i := range n {
		items = append(items, item(subjects.ID(fmt.Sprint("key-", i)), fmt.Sprint(canary.text, "-", i)))
	}
	b.submit(t, "org:acme/team:eng", subjects.Job{ID: "onboarding"}, items...)
	done := b.awaitJob(t, "org:acme/team:eng", "onboarding")
	if done.State != subjects.JobDone || done.Succeeded != n {
		t.Fatalf("%s: %s, %d of %d", done.State, done.Reason, done.Succeeded, n)
	}
	for i := range n {
		if value, told := b.get(t, "org:acme/team:eng", items[i].ID); told != nil || value != fmt.Sprint(canary.text, "-", i) {
			t.Errorf("%d: %q, %v", i, value, told)
		}
	}

	// Visible with authority above, but not beside.
	var listed subjects.JobListReply
	b.must(t, subjects.JobList, "org:acme", &subjects.JobListRequest{State: subjects.JobDone}, &listed)
	if len(listed.Jobs) != 1 || listed.Jobs[0].ID != "onboarding" || listed.Jobs[0].Scope != "org:acme/team:eng" {
		t.Errorf("%d jobs are listed", len(listed.Jobs))
	}
	var shown subjects.JobReply
	job := subjects.Target{Scope: "org:acme/team:eng", ID: "onboarding"}
	b.must(t, subjects.JobShow, "org:acme", &subjects.JobRequest{Target: job}, &shown)
	for _, command := range []subjects.Command{subjects.JobShow, subjects.JobCancel, subjects.JobRetry, subjects.JobDrop} {
		wantCode(t, b.ask(t, command, "org:other", &subjects.JobRequest{Target: job}, &shown), subjects.InvalidArgument)
		wantCode(t, b.ask(t, command, "org:other", &subjects.JobRequest{Target: subjects.Target{ID: job.ID}}, &shown), subjects.NotFound)
		wantCode(t, b.ask(t, command, "org:acme", &subjects.JobRequest{}, &shown), subjects.InvalidArgument)
	}
	b.must(t, subjects.JobList, "org:other", &subjects.JobListRequest{}, &listed)
	if len(listed.Jobs) > 1 {
		t.Error("jobs of another scope are listed")
	}

	// By hand.
	b.publishJob(t, "cred.v1.job.validate_batch.org:acme", []byte(`{"job":"nightly-0","batch":"nightly","all":true}`))
	waitFor(t, "a worker to enter the unnamed job", func() bool {
		return b.ask(t, subjects.JobShow, "org:acme", &subjects.JobRequest{Target: subjects.Target{ID: "nightly-0"}}, new(subjects.JobReply)) == nil
	})
	if top := b.awaitJob(t, "org:acme", "nightly-0"); top.State != subjects.JobDone || top.Parts != 2 {
		t.Errorf("%s: %d parts", top.State, top.Parts)
	}
	if part := b.awaitJob(t, "org:acme", "nightly-1"); part.Succeeded != n || part.Results[0].Status != subjects.Valid {
		t.Errorf("%s: %d of %d", part.State, part.Succeeded, n)
	}
	if answer := b.send(t, "cred.v1.job_show.org:acme", []byte(`{"id":"nightly-0"}`)); !strings.Contains(string(answer.Data), `"state":"done"`) {
		t.Errorf("%s", answer.Data)
	}

	b.stop(t)
	canary.searchFiles(t, b.config.DataDir) // the server's directory is below
	if canary.in([]byte(b.logs.String())) {
		t.Error("values are logged")
	}
}

// TestJobsOutliveTheWorker restarts a worker and its server while jobs wait.
func TestJobsOutliveTheWorker(t *testing.T) {
	dir := t.TempDir()
	const prompt = "CREDBUS_JOBS_ACK_WAIT=1s" // after which a server that has forgotten the delay delivers again
	b := startBed(t, dir, prompt)
	b.submit(t, "org:acme", subjects.Job{ID: "j", NotBefore: time.Now().Add(2 * time.Second)}, item("x", "v"))
	b.stop(t)
	b = startBed(t, dir, prompt)
	if done := b.awaitJob(t, "org:acme", "j"); done.State != subjects.JobDone || done.Succeeded != 1 {
		t.Errorf("%s: %s", done.State, done.Reason)
	}
	if value, told := b.get(t, "org:acme", "x"); told != nil || value != "v" {
		t.Errorf("%q, %v", value, told)
	}
}

// TestQueueIsFull submits more than the queue holds.
func TestQueueIsFull(t *testing.T) {
	b := newBed(t, "CREDBUS_JOBS_MAX_BYTES=1MiB")
	var items []subjects.StoreItem
	for i := range 5 { // of 300 KiB together
		items = append(items, item(subjects.ID(fmt.Sprint("x-", i)), strings.Repeat("x", 60<<10)))
	}
	for i := range 10 {
		job := subjects.Job{ID: subjects.ID(fmt.Sprint("j-", i)), NotBefore: time.Now().Add(time.Hour)}
		subject, body := b.sealed(t, "org:acme", job, items...)
		ack := b.send(t, subject, body)
		if strings.Contains(string(ack.Data), "maximum bytes exceeded") {
			// Waiting jobs stay.
			var shown subjects.JobReply
			b.must(t, subjects.JobShow, "org:acme", &subjects.JobRequest{Target: subjects.Target{ID: "j-0"}}, &shown)
			if shown.State != subjects.JobAccepted || i == 0 {
				t.Errorf("job 0 of %d is %s", i, shown.State)
			}
			return
		}
	}
	t.Error("the queue never refuses")
}

// A rotation by workers without jobs must make a new key for jobs, and seal the
// key of waiting jobs again, so that the keyring's old key can be removed.
func TestRotationWhileJobsAreDisabled(t *testing.T) {
	dir := t.TempDir()
	b := startBed(t, dir)
	file, before := b.keyringFile, b.keyring.Keyring().PrimaryID()
	sealKey := func() string {
		var reply subjects.SealKeyReply
		b.must(t, subjects.SealKey, "org:acme", &subjects.SealKeyRequest{}, &reply)
		return reply.KeyID
	}
	id := sealKey()
	b.submit(t, "org:acme", subjects.Job{ID: "waits", NotBefore: time.Now().Add(time.Minute)}, item("x", "v"))
	var waits subjects.JobReply
	waitFor(t, "the job to be entered", func() bool {
		return b.ask(t, subjects.JobShow, "org:acme", &subjects.JobRequest{Target: subjects.Target{ID: "waits"}}, &waits) == nil && waits.Content != ""
	})
	b.stop(t)

	rotateFile(t, file)
	b = startBed(t, dir, "CREDBUS_JOBS_ENABLED=false")
	b.must(t, subjects.Reseal, subjects.Root, &subjects.ResealRequest{}, new(subjects.ResealReply))
	b.stop(t)

	keyring, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	if keyring, err = keyring.Without(before); err != nil {
		t.Fatal(err)
	}
	if err := file.Save(keyring); err != nil {
		t.Fatal(err)
	}
	b = startBed(t, dir)
	if again := sealKey(); again == id {
		t.Error("jobs are still sealed to the old key")
	}
	b.submit(t, "org:acme", subjects.Job{ID: "waits"}, item("x", "other"))
	waitFor(t, "a job under the name of the one that waits to be turned away, which opens both", func() bool {
		b.must(t, subjects.JobShow, "org:acme", &subjects.JobRequest{Target: subjects.Target{ID: "waits"}}, &waits)
		return waits.Conflicts == 1
	})
}

func TestJobsDisabled(t *testing.T) {
	b := newBed(t, "CREDBUS_STORE_TYPE=memory", "CREDBUS_JOBS_ENABLED=false")
	for _, command := range []subjects.Command{subjects.JobShow, subjects.JobList, subjects.JobCancel, subjects.JobRetry, subjects.JobDrop} {
		told := b.ask(t, command, "org:acme", &subjects.JobRequest{Target: subjects.Target{ID: "j"}}, &subjects.JobReply{})
		if wantCode(t, told, subjects.StorageUnavailable); !strings.Contains(told.Message, "jobs.enabled") {
			t.Errorf("%s: %s", command, told.Message)
		}
	}
	b.must(t, subjects.SealKey, "org:acme", &subjects.SealKeyRequest{}, new(subjects.SealKeyReply)) // requests are sealed too
	if _, err := b.client.Request("cred.v1.job.validate_batch.org:acme", []byte(`{}`), requestTimeout); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a job is taken: %v", err)
	}
}
