package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/client"
	"credbus/internal/hybrid"
	"credbus/subjects"
)

// queue is a NATS server with the stream of jobs, as a worker makes it, and a fake
// worker that gives out the key to seal to. No worker takes a job.
type queue struct {
	url    string
	nc     *nats.Conn
	js     jetstream.JetStream
	config jetstream.StreamConfig
	stream jetstream.Stream
	key    hybrid.PrivateKey
}

func startQueue(t *testing.T, change func(*server.Options, *jetstream.StreamConfig)) *queue {
	t.Helper()
	q := &queue{config: jetstream.StreamConfig{
		Name: "JOBS", Subjects: []string{subjects.DefaultPrefix.Jobs()},
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
	}}
	options := new(server.Options)
	if change != nil {
		change(options, &q.config)
	}
	q.url = startServer(t, options).ClientURL()
	var err error
	if q.nc, err = nats.Connect(q.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.nc.Close)
	if q.js, err = jetstream.New(q.nc); err != nil {
		t.Fatal(err)
	}
	q.update(t)
	if q.key, err = hybrid.GenerateKey(); err != nil {
		t.Fatal(err)
	}
	if _, err := q.nc.Subscribe("cred.v1.seal_key.>", func(msg *nats.Msg) {
		if err := msg.RespondMsg(answer(&subjects.SealKeyReply{KeyID: q.key.Public().ID(), Key: q.key.Public().Bytes(), Now: workersNow(), MaxDelay: time.Hour})); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	// This fake worker says of every job that its name stands for it.
	if _, err := q.nc.Subscribe("cred.v1.job_show.>", func(msg *nats.Msg) {
		var request subjects.JobShowRequest
		scope, err := subjects.DefaultPrefix.ParseCommand(subjects.JobShow, msg.Subject)
		if err == nil {
			err = subjects.Decode(msg.Data, &request)
		}
		if err != nil {
			t.Error(err)
		}
		reply := answer(&subjects.JobReply{JobStatus: subjects.JobStatus{Target: subjects.Target{Scope: scope, ID: request.ID}, State: subjects.JobAccepted}})
		if err := msg.RespondMsg(reply); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := q.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return q
}

// workersNow is the workers' time, which need not be that of a client.
func workersNow() time.Time { return time.Now().Add(30 * time.Minute) }

func (q *queue) update(t *testing.T) {
	t.Helper()
	var err error
	if q.stream, err = q.js.CreateOrUpdateStream(t.Context(), q.config); err != nil {
		t.Fatal(err)
	}
}

// jobs are the messages in the stream.
func (q *queue) jobs(t *testing.T) []*jetstream.RawStreamMsg {
	t.Helper()
	info, err := q.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var messages []*jetstream.RawStreamMsg
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		msg, err := q.stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, msg)
	}
	return messages
}

// items opens the items of the nth of several store jobs.
func (q *queue) items(t *testing.T, msg *jetstream.RawStreamMsg, n, of int) []subjects.StoreItem {
	t.Helper()
	var job subjects.Job
	if err := subjects.Decode(msg.Data, &job); err != nil {
		t.Fatal(err)
	}
	command, _, id, err := subjects.DefaultPrefix.ParseJob(msg.Subject)
	if err != nil || command != subjects.StoreBatch || id != job.ID || string(id) != fmt.Sprintf("%s-%d", job.Submission, n) || job.Parts != of {
		t.Errorf("job %d of %d is %s, %s of %s with %d parts: %v", n, of, msg.Subject, job.ID, job.Submission, job.Parts, err)
	}
	if got := msg.Header.Get(nats.MsgIdHdr); got != "" {
		t.Errorf("message id is %q, where others could have used it", got)
	}
	plaintext, err := q.key.Open(job.Sealed, msg.Subject)
	if err != nil || job.SealedTo != q.key.Public().ID() {
		t.Fatalf("sealed to %s: %v", job.SealedTo, err)
	}
	var sealed subjects.JobOf[subjects.StoreItem, *subjects.StoreItem]
	if err := subjects.Decode(plaintext, &sealed); err != nil {
		t.Fatal(err)
	}
	if sealed.ID != job.ID || sealed.Submission != job.Submission || sealed.Parts != job.Parts || !sealed.NotBefore.Equal(job.NotBefore) || !sealed.ExpiresAt.Equal(job.ExpiresAt) ||
		sealed.Submitted.Before(workersNow().Add(-time.Minute)) || sealed.Submitted.After(workersNow()) {
		t.Errorf("sealed are %s of %s, submitted %v", sealed.ID, sealed.Submission, sealed.Submitted)
	}
	return sealed.Request.Items
}

func storeItems(n int, value string) []client.StoreItem {
	items := make([]client.StoreItem, n)
	for i := range items {
		items[i] = client.StoreItem{ID: client.ID(fmt.Sprintf("id-%d", i)), Data: client.Value([]byte(value))}
	}
	return items
}

// Any number of items is divided into jobs, and no value is visible in the stream.
func TestSubmitDivides(t *testing.T) {
	const canary = "s3cret-canary"
	for _, test := range []struct {
		name   string
		change func(*server.Options, *jetstream.StreamConfig)
		items  []client.StoreItem
		jobs   int
	}{
		{"by number", nil, storeItems(250, canary), 3},
		{"one", nil, storeItems(100, canary), 1},
		{"by size", nil, storeItems(40, canary+strings.Repeat("x", 60<<10)), 3},
		{"by size of their results", func(o *server.Options, _ *jetstream.StreamConfig) { o.MaxPayload = 128 << 10 }, storeItems(100, canary), 2},
		{"many", nil, storeItems(3000, canary), 30},
		{"very many", func(o *server.Options, _ *jetstream.StreamConfig) { o.MaxPayload = 16 << 10 }, storeItems(4100, canary), 1025},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := startQueue(t, test.change)
			c := connect(t, q.url, &client.Config{Clear: true})
			b, err := c.StoreJob(t.Context(), "org:acme", test.items, nil)
			if err != nil {
				t.Fatal(err)
			}
			messages := q.jobs(t)
			if len(messages) != test.jobs || b.Jobs != test.jobs || b.Scope != "org:acme" || b.ID == "" {
				t.Fatalf("%d jobs, submission is %+v", len(messages), b)
			}
			i := 0
			for n, msg := range messages {
				if bytes.Contains(msg.Data, []byte(canary)) || strings.Contains(fmt.Sprint(msg.Header), canary) {
					t.Error("a value is visible")
				}
				for _, item := range q.items(t, msg, n, test.jobs) {
					if item.ID != test.items[i].ID || !bytes.Equal(item.Data["value"].Bytes(), test.items[i].Data["value"].Bytes()) {
						t.Fatalf("item %d is %s", i, item.ID)
					}
					i++
				}
			}
			if i != len(test.items) || string(test.items[0].Data["value"].Bytes()[:len(canary)]) != canary {
				t.Errorf("%d items", i)
			}
		})
	}
}

// Jobs that were accepted are not accepted again, all or some of them.
func TestSubmitAgain(t *testing.T) {
	q := startQueue(t, nil)
	c := connect(t, q.url, &client.Config{Clear: true})
	items := storeItems(350, "s3cret")
	options := &client.JobOptions{Submission: "onboarding"}
	for range 2 {
		if _, err := c.StoreJob(t.Context(), "org:acme", items, options); err != nil {
			t.Fatal(err)
		}
	}
	info, err := q.stream.Info(t.Context())
	if err != nil || info.State.LastSeq != 4 {
		t.Errorf("%d jobs were accepted, want 4: %v", info.State.LastSeq, err)
	}
	// A job that is done is not in the queue. It is accepted again, and the workers know it.
	if err := q.stream.DeleteMsg(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := c.StoreJob(t.Context(), "org:acme", items, options); err != nil {
		t.Fatal(err)
	}
	info, err = q.stream.Info(t.Context())
	if err != nil || info.State.LastSeq != 5 {
		t.Fatalf("%d jobs were accepted, want one more: %v", info.State.LastSeq, err)
	}
	if again, err := q.stream.GetMsg(t.Context(), 5); err != nil || again.Subject != "cred.v1.job.store_batch.org:acme.onboarding-1" {
		t.Errorf("%v came again: %v", again, err)
	}
	// The same name in another scope is another batch.
	if _, err := c.StoreJob(t.Context(), "org:other", items[:1], options); err != nil {
		t.Fatal(err)
	}
	if info, err = q.stream.Info(t.Context()); err != nil || info.State.LastSeq != 6 {
		t.Errorf("%d jobs, %v", info.State.LastSeq, err)
	}
}

// Message ids belong to the whole stream, and others may have used them, at scopes of
// their own. No job is acknowledged that is not in the queue.
func TestSubmitUnderUsedIDs(t *testing.T) {
	q := startQueue(t, nil)
	if _, err := q.js.Publish(t.Context(), "cred.v1.job.validate_batch.org:other.x", []byte("{}"), jetstream.WithMsgID("org:acme/onboarding-1")); err != nil {
		t.Fatal(err)
	}
	c := connect(t, q.url, &client.Config{Clear: true})
	if _, err := c.StoreJob(t.Context(), "org:acme", storeItems(250, "s3cret"), &client.JobOptions{Submission: "onboarding"}); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if _, err := q.stream.GetLastMsgForSubject(t.Context(), fmt.Sprintf("cred.v1.job.store_batch.org:acme.onboarding-%d", n)); err != nil {
			t.Errorf("job %d: %v", n, err)
		}
	}
}

// If an acknowledgement gets lost, the client asks again.
func TestSubmitLostAcknowledgement(t *testing.T) {
	q := startQueue(t, func(_ *server.Options, c *jetstream.StreamConfig) { c.NoAck = true })
	c := connect(t, q.url, &client.Config{Clear: true, Timeout: 500 * time.Millisecond, Retries: 8})
	for _, n := range []int{1, 250} {
		q.config.NoAck = true
		q.update(t)
		came, err := q.nc.SubscribeSync("cred.v1.job.>")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := c.StoreJob(t.Context(), "org:acme", storeItems(n, "s3cret"), &client.JobOptions{Submission: fmt.Sprint("batch-", n)})
			done <- err
		}()
		if _, err := came.NextMsg(5 * time.Second); err != nil {
			t.Fatal(err)
		}
		q.config.NoAck = false
		q.update(t)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := came.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(q.jobs(t)); got != 4 {
		t.Errorf("%d jobs were accepted, want 1 and 3", got)
	}

	// Without any acknowledgement, the outcome is unknown.
	q.config.NoAck = true
	q.update(t)
	hasty := connect(t, q.url, &client.Config{Clear: true, Timeout: time.Second, Retries: -1}) // enough to send it
	_, err := hasty.DeleteJob(t.Context(), "org:acme", []client.DeleteItem{{ID: "a"}}, &client.JobOptions{Submission: "mine"})
	lost, ok := errors.AsType[*client.SubmitError](err)
	if !ok || lost.Submission != "mine" || lost.Jobs != 1 || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"mine"`) {
		t.Errorf("without an acknowledgement: %v", err)
	}
}

// If the server restarts meanwhile, it has all jobs, once.
func TestSubmitThroughARestart(t *testing.T) {
	dir := t.TempDir()
	ns := startServer(t, &server.Options{StoreDir: dir})
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"cred.v1.job.>"}}); err != nil {
		t.Fatal(err)
	}
	c := connect(t, ns.ClientURL(), &client.Config{Clear: true, NATSOptions: []nats.Option{nats.ReconnectWait(50 * time.Millisecond)}})
	ns.Shutdown()
	ns.WaitForShutdown()
	done := make(chan error, 1)
	go func() {
		_, err := c.ValidateJob(t.Context(), "org:acme", make([]client.Target, 0), nil)
		if !errors.Is(err, client.ErrInvalidArgument) {
			t.Errorf("no items: %v", err)
		}
		_, err = c.ValidateJob(t.Context(), "org:acme", []client.Target{{ID: "a"}}, nil)
		done <- err
	}()
	port := strings.TrimPrefix(ns.ClientURL(), "nats://127.0.0.1:")
	var n int
	if _, err := fmt.Sscan(port, &n); err != nil {
		t.Fatal(err)
	}
	startServer(t, &server.Options{StoreDir: dir, Port: n})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// One bad item makes the client refuse all of them, before anything is sent.
func TestSubmitRefuses(t *testing.T) {
	q := startQueue(t, nil)
	c := connect(t, q.url, &client.Config{Clear: true})
	good := storeItems(250, "s3cret")
	bad := func(change func(*client.StoreItem)) []client.StoreItem {
		items := append([]client.StoreItem(nil), good...)
		change(&items[170])
		return items
	}
	later := time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		submit func() error
		want   error
		text   string
	}{
		"id": {func() error {
			_, err := c.StoreJob(t.Context(), "org:a", bad(func(i *client.StoreItem) { i.ID = "no id" }), nil)
			return err
		}, client.ErrInvalidArgument, "item 170: "},
		"no data": {func() error {
			_, err := c.StoreJob(t.Context(), "org:a", bad(func(i *client.StoreItem) { i.Data = nil }), nil)
			return err
		}, client.ErrInvalidArgument, "item 170: "},
		"too much data": {func() error {
			_, err := c.StoreJob(t.Context(), "org:a", bad(func(i *client.StoreItem) { i.Data = client.Value(make([]byte, 65<<10)) }), nil)
			return err
		}, client.ErrPayloadTooLarge, "item 170: "},
		"request id": {func() error {
			_, err := c.StoreJob(t.Context(), "org:a", bad(func(i *client.StoreItem) { i.RequestID = "x" }), nil)
			return err
		}, client.ErrInvalidArgument, "Submission of JobOptions"},
		"scope": {func() error { _, err := c.StoreJob(t.Context(), "org", good, nil); return err }, client.ErrInvalidArgument, "level:value"},
		"submission": {func() error {
			_, err := c.StoreJob(t.Context(), "org:a", good, &client.JobOptions{Submission: "a.b"})
			return err
		}, client.ErrInvalidArgument, "the name of the submission"},
		"long submission": {func() error {
			_, err := c.StoreJob(t.Context(), "org:a", good, &client.JobOptions{Submission: strings.Repeat("x", 41)})
			return err
		}, client.ErrInvalidArgument, "at most 40"},
		"expires before it begins": {func() error {
			_, err := c.StoreJob(t.Context(), "org:a", good, &client.JobOptions{NotBefore: later, ExpiresAt: later})
			return err
		}, client.ErrInvalidArgument, "expire before"},
		"expired": {func() error {
			_, err := c.StoreJob(t.Context(), "org:a", good, &client.JobOptions{ExpiresAt: time.Now().Add(-time.Second)})
			return err
		}, client.ErrInvalidArgument, "expired already"},
		"select to store": {func() error {
			_, err := c.SelectJob(t.Context(), "org:a", client.CommandStore, client.Filter{}, nil)
			return err
		}, client.ErrInvalidArgument, "cannot select"},
		"filter": {func() error {
			_, err := c.SelectJob(t.Context(), "org:a", client.CommandDelete, client.Filter{IDPrefix: strings.Repeat("s3cret", 50)}, nil)
			return err
		}, client.ErrInvalidArgument, "255"},
		"nothing": {func() error { _, err := c.StoreJob(t.Context(), "org:a", nil, nil); return err }, client.ErrInvalidArgument, "no items"},
	} {
		if err := test.submit(); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(q.jobs(t)); n != 0 {
		t.Errorf("%d jobs were accepted", n)
	}
}

// If the queue gets full on the way, it has taken a part of the batch. The submission can be
// submitted again under its name.
func TestSubmitQueueIsFull(t *testing.T) {
	q := startQueue(t, func(_ *server.Options, c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 })
	c := connect(t, q.url, &client.Config{Clear: true, Retries: -1})
	items := storeItems(40, strings.Repeat("x", 60<<10))
	_, err := c.StoreJob(t.Context(), "org:a", items, nil)
	if _, unsure := errors.AsType[*client.SubmitError](err); !unsure || !errors.Is(err, client.ErrResourceExhausted) || !strings.Contains(err.Error(), "jobs.max_bytes") {
		t.Errorf("a submission: %v", err)
	}
	if n := len(q.jobs(t)); n != 1 {
		t.Errorf("%d jobs were accepted", n)
	}
	if _, err := c.StoreJob(t.Context(), "org:a", items[:17], nil); !errors.Is(err, client.ErrResourceExhausted) {
		t.Errorf("a single job: %v", err)
	}
}

// Each job is sent once, and each answer of a worker has its error.
func TestSubmitAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		sent   int
		want   error
	}{
		"accepted":          {`{"stream":"JOBS","seq":1}`, 3, nil},
		"busy":              {`{"error":{"code":429,"description":"the worker is full"}}`, 1, client.ErrResourceExhausted},
		"nothing":           {"", 1, client.ErrInternal},
		"no leader":         {`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`, 1, client.ErrStorageUnavailable},
		"too large":         {`{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}`, 1, client.ErrPayloadTooLarge},
		"account":           {`{"error":{"code":400,"err_code":10002,"description":"resource limits exceeded for account"}}`, 1, client.ErrStorageFull},
		"disk":              {`{"error":{"code":503,"err_code":10077,"description":"no space left on device"}}`, 1, client.ErrStorageFull},
		"accepted before":   {`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence"}}`, 3, nil}, // under names that nobody else knows
		"no acknowledgment": {"s3cret", 1, client.ErrInternal},
	} {
		ns := startServer(t, new(server.Options))
		nc, err := nats.Connect(ns.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		sent := make(map[string]int)
		if _, err := nc.Subscribe("cred.v1.job.>", func(msg *nats.Msg) {
			sent[msg.Subject]++
			if err := msg.Respond([]byte(test.answer)); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		c := connect(t, ns.ClientURL(), &client.Config{Clear: true, Retries: -1})
		_, err = c.ValidateJob(t.Context(), "org:a", targets(250), nil)
		if !errors.Is(err, test.want) || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
		if err := nc.Drain(); err != nil {
			t.Fatal(err)
		}
		for !nc.IsClosed() {
			time.Sleep(time.Millisecond)
		}
		times := 0
		for _, n := range sent {
			times += n
		}
		if times != test.sent || test.want == nil && len(sent) != 3 {
			t.Errorf("%s: sent %v", name, sent)
		}
	}
}

func TestSubmitWithoutAQueue(t *testing.T) {
	ns := startServer(t, new(server.Options))
	c := connect(t, ns.ClientURL(), &client.Config{Clear: true, Retries: -1})
	for _, n := range []int{1, 150} {
		_, err := c.ValidateJob(t.Context(), "org:a", targets(n), nil)
		if _, unsure := errors.AsType[*client.SubmitError](err); unsure || !errors.Is(err, client.ErrNoWorkers) || !strings.Contains(err.Error(), "jobs.enabled") {
			t.Errorf("%d: %v", n, err)
		}
	}
	if _, err := c.StoreJob(t.Context(), "org:a", storeItems(1, "s3cret"), nil); !errors.Is(err, client.ErrNoWorkers) {
		t.Errorf("store: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.ValidateJob(ctx, "org:a", targets(1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func targets(n int) []client.Target {
	items := make([]client.Target, n)
	for i := range items {
		items[i].ID = client.ID(fmt.Sprintf("id-%d", i))
	}
	return items
}

// A tenant needs only permissions for its subjects, above all no JetStream API. If one is
// missing, the error comes at once.
func TestSubmitPermissions(t *testing.T) {
	tenant := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"cred.v1.job.*.org:acme.>", "cred.v1.seal_key.org:acme"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
	q := startQueue(t, func(o *server.Options, _ *jetstream.StreamConfig) {
		o.Users = []*server.User{{Username: "worker", Password: "pw"}, {Username: "tenant", Password: "pw", Permissions: tenant}}
		o.NoAuthUser = "worker"
	})
	c := connect(t, q.url, &client.Config{
		Clear:       true,
		Timeout:     time.Minute, // a test that waits for it fails
		NATSOptions: []nats.Option{nats.UserInfo("tenant", "pw")},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, n := range []int{1, 250} {
		if _, err := c.StoreJob(ctx, "org:acme", storeItems(n, "s3cret"), nil); err != nil {
			t.Errorf("%d: %v", n, err)
		}
		if _, err := c.ValidateJob(ctx, "org:other", targets(n), nil); !errors.Is(err, client.ErrPermissionDenied) {
			t.Errorf("%d beside: %v", n, err)
		}
	}
	if n := len(q.jobs(t)); n != 4 {
		t.Errorf("%d jobs", n)
	}
}

// Send gets the jobs, which are not published then.
func TestSubmitSend(t *testing.T) {
	q := startQueue(t, nil)
	c := connect(t, q.url, &client.Config{Clear: true})
	var sent []*nats.Msg
	b, err := c.StoreJob(t.Context(), "org:acme", storeItems(101, "s3cret"), &client.JobOptions{Send: func(msg *nats.Msg) error {
		sent = append(sent, msg)
		return nil
	}})
	if err != nil || len(sent) != 2 || len(q.jobs(t)) != 0 {
		t.Fatalf("%d were handed over, %v", len(sent), err)
	}
	if want := "cred.v1.job.store_batch.org:acme." + string(b.ID) + "-1"; sent[1].Subject != want || bytes.Contains(sent[1].Data, []byte("s3cret")) {
		t.Errorf("subject is %s, want %s", sent[1].Subject, want)
	}
	broken := errors.New("broken")
	if _, err := c.StoreJob(t.Context(), "org:acme", storeItems(1, "s3cret"), &client.JobOptions{Send: func(*nats.Msg) error { return broken }}); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// embedded starts a worker with a server of its own, and returns the context file that
// lets clients in, with the permissions of clients.
func embedded(t *testing.T, settings ...string) (contextFile string) {
	t.Helper()
	dir := t.TempDir()
	startEmbedded(t, dir, settings...)
	return filepath.Join(dir, "client.json")
}
