package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/client"
)

// reloadable is a server on which allow gives or takes the inbox of the user tenant.
type reloadable struct {
	*server.Server
	options *server.Options
}

func startReloadable(t *testing.T) *reloadable {
	t.Helper()
	r := &reloadable{options: &server.Options{Users: users(true), StoreDir: t.TempDir()}}
	r.Server = startServer(t, r.options)
	return r
}

func users(inbox bool) []*server.User {
	tenant := &server.User{Username: "tenant", Password: "pw", Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"cred.v1.>"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"cred.v1.event.>"}},
	}}
	if inbox {
		tenant.Permissions.Subscribe.Allow = append(tenant.Permissions.Subscribe.Allow, "_INBOX.>")
	}
	return []*server.User{{Username: "worker", Password: "pw"}, tenant}
}

// allow reloads the server with or without the permission for the tenant's inbox.
func (r *reloadable) allow(t *testing.T, inbox bool) {
	t.Helper()
	next := r.options.Clone()
	next.Users = users(inbox)
	if err := r.ReloadOptions(next); err != nil {
		t.Fatal(err)
	}
}

func (r *reloadable) url(user string) string {
	return strings.Replace(r.ClientURL(), "nats://", "nats://"+user+":pw@", 1)
}

// While NATS refuses a client's inbox, its requests fail at once. When the permission is
// back, they work on the same connection, whether that is its own or a given one.
func TestInboxRefusedForAWhile(t *testing.T) {
	r := startReloadable(t)
	startWorker(t, r.url("worker"))
	lost := func(*nats.Conn, error) { t.Error("the connection was lost") }
	own := connect(t, r.url("tenant"), &client.Config{
		Timeout: 20 * time.Second, NATSOptions: []nats.Option{nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil {
				lost(nc, err)
			}
		})},
	})
	nc, err := nats.Connect(r.url("tenant"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	given := connect(t, "", &client.Config{Conn: nc, Timeout: 200 * time.Millisecond})
	store(t, own, "org:a", "a", "1", nil)
	store(t, given, "org:a", "a", "1", nil)
	events := follow(t, t.Context(), own, "org:a")

	for range 2 {
		r.allow(t, false)
		ctx := t.Context() // each client has its own timeout
		for _, c := range []*client.Client{own, given} {
			// The first may be on its way when the server takes the permission, and a
			// given connection does not report that.
			for err = nil; err == nil || c == given && errors.Is(err, context.DeadlineExceeded); {
				_, err = c.Retrieve(ctx, "org:a", "a", nil)
			}
			for range 3 {
				if !errors.Is(err, client.ErrPermissionDenied) || !strings.Contains(err.Error(), "_INBOX.") {
					t.Errorf("a read without an inbox: %v", err)
				}
				_, err = c.Retrieve(ctx, "org:a", "a", nil)
			}
			_, err = c.Store(ctx, "org:a", "b", client.Value([]byte("1")), nil)
			if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); unknown || !errors.Is(err, client.ErrPermissionDenied) {
				t.Errorf("a write without an inbox: %v", err)
			}
			time.Sleep(300 * time.Millisecond) // so that it asks the server again
			if _, err = c.Retrieve(ctx, "org:a", "a", nil); !errors.Is(err, client.ErrPermissionDenied) {
				t.Errorf("a later read without an inbox: %v", err)
			}
		}

		r.allow(t, true)
		for _, c := range []*client.Client{own, given} {
			for err = client.ErrPermissionDenied; errors.Is(err, client.ErrPermissionDenied); {
				_, err = c.Retrieve(ctx, "org:a", "a", nil)
			}
			if err != nil {
				t.Errorf("a read after the permission came back: %v", err)
			}
		}
	}
	// Its events were never refused, and go on.
	store(t, own, "org:a", "c", "1", nil)
	if event, err := events(); err != nil || event.ID != "c" {
		t.Errorf("got %+v, %v", event, err)
	}
}

// Requests that wait when the inbox is refused end then, and a write among them may
// have taken effect.
func TestInboxRefusedMeanwhile(t *testing.T) {
	r := startReloadable(t)
	nc, err := nats.Connect(r.url("worker"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	held := make(chan *nats.Msg, 2)
	if _, err := nc.ChanSubscribe("cred.v1.>", held); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := connect(t, r.url("tenant"), &client.Config{Clear: true, Timeout: time.Minute})
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); !errors.Is(err, client.ErrPermissionDenied) {
			t.Errorf("read: %v", err)
		}
	})
	group.Go(func() {
		_, err := c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil)
		if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); !unknown || !errors.Is(err, client.ErrPermissionDenied) {
			t.Errorf("write: %v", err)
		}
	})
	for range 2 {
		<-held
	}
	r.allow(t, false)
	group.Wait()
}
