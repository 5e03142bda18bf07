package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/internal/testbed"
	"credbus/subjects"
)

func TestNoWorkers(t *testing.T) {
	c := connect(t, workerURL, &client.Config{Prefix: "nobody.home", Retries: -1})
	_, err := c.Retrieve(t.Context(), "org:a", "a", nil)
	if !errors.Is(err, client.ErrNoWorkers) || errors.Is(err, client.ErrNotFound) || !strings.Contains(err.Error(), "nobody.home.seal_key.org:a") {
		t.Errorf("retrieve: %v", err)
	}
	_, err = c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil)
	if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); unknown || !errors.Is(err, client.ErrNoWorkers) {
		t.Errorf("store: %v", err)
	}
}

func TestTimeouts(t *testing.T) {
	silent := func(*nats.Msg) *nats.Msg { return nil }
	c := fakeWorker(t, &client.Config{Timeout: 50 * time.Millisecond}, silent)
	_, err := c.Retrieve(context.Background(), "org:a", "a", nil)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrStorageTimeout) {
		t.Errorf("default timeout: %v", err)
	}
	alive, cancel := context.WithCancel(t.Context())
	ctx := testbed.Expiring(alive)
	c = fakeWorker(t, nil, func(*nats.Msg) *nats.Msg { cancel(); return nil })
	_, err = c.Store(ctx, "org:a", "a", client.Value([]byte("s3cret")), &client.StoreOptions{RequestID: "mine"})
	unknown, isUnknown := errors.AsType[*client.OutcomeUnknownError](err)
	if !errors.Is(err, context.DeadlineExceeded) || !isUnknown || unknown.RequestID != "mine" || !strings.Contains(err.Error(), `"mine"`) {
		t.Errorf("store: %v", err)
	}
	// The context is over already: nothing is sent, so nothing is unknown.
	err = c.Delete(ctx, "org:a", "a", nil)
	if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); unknown || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("delete: %v", err)
	}

	alive, cancel = context.WithCancel(t.Context())
	c = fakeWorker(t, nil, func(*nats.Msg) *nats.Msg { cancel(); return nil })
	if _, err := c.Retrieve(alive, "org:a", "a", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A reply that comes after its command has ended answers no other command.
func TestLateReply(t *testing.T) {
	var late *nats.Msg
	ctx, cancel := context.WithCancel(t.Context())
	c := fakeWorker(t, nil, func(msg *nats.Msg) *nats.Msg {
		if late == nil {
			late = msg
			cancel()
			return nil
		}
		if err := late.RespondMsg(retrieveReply("late")); err != nil {
			t.Error(err)
		}
		return retrieveReply("prompt")
	})
	if _, err := c.Retrieve(ctx, "org:a", "late", nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	cred, err := c.Retrieve(t.Context(), "org:a", "prompt", nil)
	if err != nil || cred.ID != "prompt" {
		t.Errorf("got %v, %v", cred, err)
	}
}

// Which failures are repeated, and how often.
func TestRepetition(t *testing.T) {
	for _, test := range []struct {
		code          subjects.Code
		marked        bool  // the worker says that the outcome is unknown
		retrieve      int32 // times sent
		store         int32
		storeIsKnown  bool
		storeSentinel error
	}{
		{subjects.ResourceExhausted, false, 3, 3, true, client.ErrResourceExhausted},
		{subjects.StorageUnavailable, false, 3, 3, true, client.ErrStorageUnavailable},
		{subjects.StorageUnavailable, true, 3, 1, false, client.ErrStorageUnavailable},
		{subjects.StorageTimeout, false, 3, 3, true, client.ErrStorageTimeout},
		{subjects.StorageTimeout, true, 3, 1, false, client.ErrStorageTimeout},
		{subjects.StorageFull, false, 1, 1, true, client.ErrStorageFull},
		{subjects.Internal, false, 1, 1, true, client.ErrInternal},
		{subjects.Internal, true, 1, 1, false, client.ErrInternal},
		{subjects.PayloadTooLarge, true, 1, 1, false, client.ErrPayloadTooLarge},
		{subjects.VersionConflict, true, 1, 1, false, client.ErrVersionConflict},
		{subjects.PermissionDenied, false, 1, 1, true, client.ErrPermissionDenied},
		{subjects.DecryptFailed, false, 1, 1, true, client.ErrDecryptFailed},
		{"from_the_future", false, 1, 1, false, &client.Error{Code: "from_the_future"}},
	} {
		t.Run(fmt.Sprint(test.code, test.marked), func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			ids := make(map[string]bool)
			c := fakeWorker(t, &client.Config{Retries: 2}, func(msg *nats.Msg) *nats.Msg {
				requests.Add(1)
				if command(msg) == subjects.Store {
					var request subjects.StoreRequest
					if err := subjects.Decode(msg.Data, &request); err != nil {
						t.Error(err)
					}
					ids[request.RequestID] = true
				}
				failure := subjects.Errorf(test.code, "because")
				if test.marked {
					failure.MarkOutcomeUnknown()
				}
				return refusal(failure)
			})
			_, err := c.Retrieve(t.Context(), "org:a", "a", nil)
			if got := requests.Swap(0); got != test.retrieve || !errors.Is(err, test.storeSentinel) {
				t.Errorf("retrieve was sent %d times, want %d: %v", got, test.retrieve, err)
			}
			_, err = c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil)
			if got := requests.Load(); got != test.store || !errors.Is(err, test.storeSentinel) {
				t.Errorf("store was sent %d times, want %d: %v", got, test.store, err)
			}
			if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); unknown == test.storeIsKnown {
				t.Errorf("outcome unknown: %t: %v", unknown, err)
			}
			if text := err.Error(); !test.storeIsKnown && strings.Count(text, "may have taken effect") != 1 || !test.storeIsKnown && !strings.Contains(text, "request id \"") && !strings.Contains(text, "request id is \"") {
				t.Errorf("the error says %q", text)
			}
			if len(ids) != 1 {
				t.Errorf("a store was sent with %d request ids", len(ids))
			}
		})
	}
}

func TestRepetitionSucceeds(t *testing.T) {
	var requests atomic.Int32
	c := fakeWorker(t, nil, func(*nats.Msg) *nats.Msg {
		if requests.Add(1) == 1 {
			return refusal(subjects.Errorf(subjects.ResourceExhausted, "full"))
		}
		return retrieveReply("a")
	})
	if cred, err := c.Retrieve(t.Context(), "org:a", "a", nil); err != nil || string(cred.Value()) != "s3cret" {
		t.Errorf("got %v, %v", cred, err)
	}
}

// NATS does not answer a request that it refuses: the command must not wait for
// its whole timeout, and a write is known not to have happened.
func TestRefusedByNATS(t *testing.T) {
	ns := startServer(t, &server.Options{Users: []*server.User{
		{Username: "worker", Password: "w"},
		{Username: "tenant", Password: "t", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"cred.v1.*.org:a.>", "cred.v1.*.org:a"}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", "cred.v1.event.org:a.>"}},
		}},
		{Username: "deaf", Password: "d", Permissions: &server.Permissions{
			Subscribe: &server.SubjectPermission{Deny: []string{"_INBOX.>"}},
		}},
	}})
	url := func(user string) string {
		return strings.Replace(ns.ClientURL(), "nats://", "nats://"+user+"@", 1)
	}
	startWorker(t, url("worker:w"))
	var heard atomic.Int32
	c := connect(t, url("tenant:t"), &client.Config{
		Timeout: time.Minute, // a test that waits for it fails
		NATSOptions: []nats.Option{nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {
			heard.Add(1)
		})},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	store(t, c, "org:a", "a", "1", nil)

	_, err := c.Store(ctx, "org:b", "a", client.Value([]byte("1")), nil)
	if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); unknown || !errors.Is(err, client.ErrPermissionDenied) {
		t.Errorf("store: %v", err)
	}
	if _, err := c.Retrieve(ctx, "org:b", "a", nil); !errors.Is(err, client.ErrPermissionDenied) || !strings.Contains(err.Error(), "cred.v1.retrieve.org:b") {
		t.Errorf("retrieve: %v", err)
	}
	if _, err := c.Events(ctx, "org:b"); !errors.Is(err, client.ErrPermissionDenied) {
		t.Errorf("events: %v", err)
	}
	if _, err := c.Events(ctx, "org:a"); err != nil {
		t.Errorf("events of its own scope: %v", err)
	}
	for _, inbox := range []string{"_INBOX", "_INBOX.deaf"} {
		deaf := connect(t, url("deaf:d"), &client.Config{
			Timeout: time.Minute, NATSOptions: []nats.Option{nats.CustomInboxPrefix(inbox)},
		})
		if _, err := deaf.Retrieve(ctx, "org:a", "a", nil); !errors.Is(err, client.ErrPermissionDenied) {
			t.Errorf("retrieve without an inbox at %s: %v", inbox, err)
		}
		// The server was asked for the inbox first, so nothing was sent.
		deaf = connect(t, url("deaf:d"), &client.Config{
			Timeout: time.Minute, NATSOptions: []nats.Option{nats.CustomInboxPrefix(inbox)},
		})
		id := client.ID(strings.ReplaceAll(inbox, ".", "-"))
		_, err := deaf.Store(ctx, "org:a", id, client.Value([]byte("1")), nil)
		if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); unknown || !errors.Is(err, client.ErrPermissionDenied) {
			t.Errorf("store without an inbox at %s: %v", inbox, err)
		}
		if _, err = c.Retrieve(ctx, "org:a", id, nil); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("a store without an inbox at %s was sent: %v", inbox, err)
		}
	}
	if heard.Load() == 0 {
		t.Error("the handler of NATSOptions was replaced")
	}
}

// A read whose reply is lost with the connection is sent again; a write waits,
// since its reply may yet come.
func TestDisconnect(t *testing.T) {
	ns := startServer(t, &server.Options{})
	quick := []nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0)}
	once := connect(t, ns.ClientURL(), &client.Config{Clear: true, Retries: -1, Timeout: time.Minute, NATSOptions: quick})
	patient := connect(t, ns.ClientURL(), &client.Config{Clear: true, Retries: 10, Timeout: time.Minute, NATSOptions: quick})
	holder, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	held := make(chan *nats.Msg)
	if _, err := holder.Subscribe("cred.v1.>", func(msg *nats.Msg) { held <- msg }); err != nil {
		t.Fatal(err)
	}
	if err := holder.Flush(); err != nil {
		t.Fatal(err)
	}

	alive, expire := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := once.Retrieve(t.Context(), "org:a", "a", nil); !errors.Is(err, client.ErrDisconnected) {
			t.Errorf("read: %v", err)
		}
	})
	group.Go(func() {
		_, err := once.Store(testbed.Expiring(alive), "org:a", "a", client.Value([]byte("1")), nil)
		if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); !unknown || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
	})
	group.Go(func() {
		if _, err := patient.Retrieve(t.Context(), "org:a", "a", nil); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("repeated read: %v", err)
		}
	})
	for range 3 {
		<-held
	}
	holder.Close()
	restart(t, ns)
	startWorker(t, ns.ClientURL())
	expire()
	group.Wait()
}

func TestNotConnected(t *testing.T) {
	ns := startServer(t, &server.Options{})
	noticed := make(chan struct{}, 1)
	c := connect(t, ns.ClientURL(), &client.Config{Retries: -1, NATSOptions: []nats.Option{
		nats.DisconnectErrHandler(func(*nats.Conn, error) { noticed <- struct{}{} }),
	}})
	ns.Shutdown()
	<-noticed
	_, err := c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil)
	if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); unknown || !errors.Is(err, client.ErrDisconnected) {
		t.Errorf("store: %v", err)
	}
}

// With the default settings a command outlasts a restart of the server.
func TestRestart(t *testing.T) {
	ns := startServer(t, &server.Options{})
	url := ns.ClientURL()
	c := connect(t, url, &client.Config{
		NATSOptions: []nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0)},
	})
	restart(t, ns)
	startWorker(t, url)
	store(t, c, "org:a", "a", "1", nil)
}

func TestCloseEndsCommands(t *testing.T) {
	var c *client.Client
	waiting := make(chan struct{})
	c = fakeWorker(t, nil, func(*nats.Msg) *nats.Msg { close(waiting); return nil })
	go func() {
		<-waiting
		c.Close()
	}()
	_, err := c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil)
	if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); !unknown || !errors.Is(err, client.ErrClosed) {
		t.Errorf("store: %v", err)
	}
}
