package client_test

import (
	"bytes"
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

// tapped are the messages that a server has carried.
type tapped struct{ *testbed.Tap }

func tap(t *testing.T, url string) tapped {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return tapped{testbed.NewTap(t, nc)}
}

// of returns the messages to a command.
func (s tapped) of(t *testing.T, command client.Command) (found []*nats.Msg) {
	t.Helper()
	for _, msg := range s.Carried(t) {
		if strings.HasPrefix(msg.Subject, "cred.v1."+string(command)+".") {
			found = append(found, msg)
		}
	}
	return found
}

func (s tapped) contains(t *testing.T, text string) bool {
	t.Helper()
	for _, msg := range s.Carried(t) {
		if bytes.Contains(msg.Data, []byte(text)) {
			return true
		}
	}
	return false
}

// A client seals everything, in one session, and Clear turns that off.
func TestSealed(t *testing.T) {
	ns := startServer(t, &server.Options{})
	startWorker(t, ns.ClientURL())
	for _, inClear := range []bool{false, true} {
		seen := tap(t, ns.ClientURL())
		c := connect(t, ns.ClientURL(), &client.Config{Clear: inClear, Hedge: -1})
		const value = "correct horse battery staple"
		scope := client.Scope(fmt.Sprintf("org:%v", inClear))
		store(t, c, scope, "a", value, nil)
		for range 10 {
			got, err := c.Retrieve(t.Context(), scope, "a", nil)
			if err != nil || string(got.Value()) != value {
				t.Fatalf("%v, %v", got, err)
			}
		}
		if _, err := c.Retrieve(t.Context(), scope, "missing", nil); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("%v", err)
		}
		if seen.contains(t, "horse") != inClear {
			t.Errorf("Clear %v: the server saw the value: %v", inClear, !inClear)
		}
		want := 2
		if inClear {
			want = 0
		}
		if n := len(seen.of(t, subjects.SealKey)); n != want {
			t.Errorf("Clear %v: %d requests for seal_key, want %d", inClear, n, want)
		}
	}
}

// Many callers begin one session, and a failure of the beginning is that of all who wait.
func TestOneSession(t *testing.T) {
	ns := startServer(t, &server.Options{})
	startWorker(t, ns.ClientURL())
	seen := tap(t, ns.ClientURL())
	c := connect(t, ns.ClientURL(), &client.Config{Hedge: -1})
	var group sync.WaitGroup
	for n := range 100 {
		group.Go(func() { store(t, c, "org:a", client.ID(fmt.Sprint("id", n)), "1", nil) })
	}
	group.Wait()
	if n := len(seen.of(t, subjects.SealKey)); n != 2 {
		t.Errorf("%d requests for seal_key, want 2", n)
	}
	nobody := connect(t, workerURL, &client.Config{Prefix: "nobody.home", Retries: -1})
	for range 20 {
		group.Go(func() {
			if _, err := nobody.Retrieve(t.Context(), "org:a", "a", nil); !errors.Is(err, client.ErrNoWorkers) {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// When the workers have lost the session, callers do not notice: a store among them acts once.
func TestSessionIsRenewed(t *testing.T) {
	ns := startServer(t, &server.Options{})
	w, err := newWorker(ns.ClientURL(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, ns.ClientURL(), &client.Config{Retries: -1})
	store(t, c, "org:a", "a", "1", nil)
	if err := w.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	startWorker(t, ns.ClientURL()) // in memory: it has other keys
	seen := tap(t, ns.ClientURL())
	store(t, c, "org:a", "a", "2", nil)
	if n := len(seen.of(t, subjects.Store)); n != 2 {
		t.Errorf("the store was sent %d times", n)
	}
	got, err := c.Retrieve(t.Context(), "org:a", "a", nil)
	if err != nil || string(got.Value()) != "2" {
		t.Errorf("%v, %v", got, err)
	}
}

// A pinned wire key tells the workers from somebody who answers in their place.
func TestWireKey(t *testing.T) {
	ns := startServer(t, &server.Options{})
	startWorker(t, ns.ClientURL())
	key, err := connect(t, ns.ClientURL(), nil).WireKey(t.Context(), "org:a")
	if err != nil {
		t.Fatal(err)
	}
	pinned := connect(t, ns.ClientURL(), &client.Config{WireKey: key})
	store(t, pinned, "org:a", "a", "1", nil)
	if again, err := pinned.WireKey(t.Context(), "org:a"); err != nil || again != key {
		t.Errorf("%s, %v; before %s", again, err, key)
	}

	other := startServer(t, &server.Options{})
	startWorker(t, other.ClientURL())
	seen := tap(t, other.ClientURL())
	deceived := connect(t, other.ClientURL(), &client.Config{WireKey: key})
	_, err = deceived.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil)
	if !errors.Is(err, client.ErrPermissionDenied) || !strings.Contains(err.Error(), key) {
		t.Errorf("somebody else answers: %v", err)
	}
	if n := len(seen.of(t, subjects.Store)); n > 0 {
		t.Errorf("%d stores were sent", n)
	}
	for _, config := range []client.Config{{WireKey: "short"}, {WireKey: key + "="}, {WireKey: key, Clear: true}} {
		if c, err := client.Connect(ns.ClientURL(), &config); err == nil {
			t.Errorf("%+v is accepted", config)
			c.Close()
		}
	}
}

// An answer in clear to a sealed request proves nothing: a store whose answer it is may have
// taken effect, and a read does not return it.
func TestAnswersInClear(t *testing.T) {
	ns := startServer(t, &server.Options{})
	startWorker(t, ns.ClientURL())
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := connect(t, ns.ClientURL(), &client.Config{Retries: -1})
	store(t, c, "org:a", "a", "1", nil)

	var forged atomic.Pointer[nats.Msg]
	for _, command := range []client.Command{subjects.Store, subjects.Retrieve} {
		// A queue group that gets every other request.
		if _, err := nc.QueueSubscribe("cred.v1."+string(command)+".>", "credbus", func(msg *nats.Msg) {
			if err := msg.RespondMsg(forged.Load()); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	forgeries := map[string]*nats.Msg{
		"a reply":         answer(&subjects.StoreReply{Target: subjects.Target{Scope: "org:a", ID: "a"}, Version: "forged"}),
		"not found":       refusal(subjects.Errorf(subjects.NotFound, "because")),
		"limited":         refusal(subjects.Errorf(subjects.ResourceExhausted, "because")),
		"session expired": refusal(subjects.Errorf(subjects.SessionExpired, "because")),
		"empty":           {},
		"sealed garbage":  {Data: append([]byte{0xc1, 2}, make([]byte, 100)...)},
	}
	for name, msg := range forgeries {
		forged.Store(msg)
		deceived := false
		for range 20 {
			version, err := c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil)
			if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); err != nil && !unknown {
				t.Errorf("%s: store: %v", name, err)
			}
			if err == nil && version == "forged" {
				t.Errorf("%s: a forged reply was believed", name)
			}
			_, err = c.Retrieve(t.Context(), "org:a", "a", nil)
			if err != nil && !errors.Is(err, client.ErrInternal) && !errors.Is(err, client.ErrSessionExpired) {
				t.Errorf("%s: retrieve: %v", name, err)
			}
			deceived = deceived || err != nil
		}
		if !deceived && name != "session expired" { // that is repeated until a worker answers
			t.Errorf("%s: no forgery reached the client", name)
		}
	}
}

// Without permission for seal_key, the error names it.
func TestSealKeyIsDenied(t *testing.T) {
	ns := startServer(t, &server.Options{Users: []*server.User{
		{Username: "worker", Password: "pw"},
		{Username: "old", Password: "pw", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"cred.v1.retrieve.org:a"}}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}},
	}})
	startWorker(t, strings.Replace(ns.ClientURL(), "nats://", "nats://worker:pw@", 1))
	url := strings.Replace(ns.ClientURL(), "nats://", "nats://old:pw@", 1)
	begun := time.Now()
	_, err := connect(t, url, nil).Retrieve(t.Context(), "org:a", "a", nil)
	if !errors.Is(err, client.ErrPermissionDenied) || !strings.Contains(err.Error(), "cred.v1.seal_key.org:a") {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	if _, err := connect(t, url, &client.Config{Clear: true}).Retrieve(t.Context(), "org:a", "a", nil); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("in clear: %v", err)
	}
}

// Callers at a scope that is forbidden do not keep others from beginning a session.
func TestSessionOfAnotherScope(t *testing.T) {
	ns := startServer(t, &server.Options{Users: []*server.User{
		{Username: "worker", Password: "pw"},
		{Username: "tenant", Password: "pw", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"cred.v1.*.org:good"}}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}},
	}})
	startWorker(t, strings.Replace(ns.ClientURL(), "nats://", "nats://worker:pw@", 1))
	url := strings.Replace(ns.ClientURL(), "nats://", "nats://tenant:pw@", 1)
	for range 20 {
		c := connect(t, url, nil)
		var group sync.WaitGroup
		for n := range 10 {
			group.Go(func() {
				scope, want := client.Scope("org:good"), client.ErrNotFound
				if n == 0 {
					scope, want = "org:bad", client.ErrPermissionDenied
				}
				if _, err := c.Retrieve(t.Context(), scope, "a", nil); !errors.Is(err, want) {
					t.Errorf("%s: %v", scope, err)
				}
			})
		}
		group.Wait()
		c.Close()
	}
}

// However late the answers to seal_key are, changes are neither too early nor too late.
func TestLateSealKey(t *testing.T) {
	ns := startServer(t, &server.Options{})
	startWorker(t, ns.ClientURL())
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// Another prefix, behind which everything but seal_key is forwarded at once.
	if _, err := nc.Subscribe("late.v1.>", func(msg *nats.Msg) {
		go func() {
			if strings.HasPrefix(msg.Subject, "late.v1.seal_key") {
				time.Sleep(700 * time.Millisecond)
			}
			reply, err := nc.Request("cred"+strings.TrimPrefix(msg.Subject, "late"), msg.Data, 10*time.Second)
			if err == nil {
				err = msg.RespondMsg(&nats.Msg{Data: reply.Data, Header: reply.Header})
			}
			if err != nil {
				t.Error(err)
			}
		}()
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := connect(t, ns.ClientURL(), &client.Config{Prefix: "late.v1", Retries: -1, Timeout: 20 * time.Second, Hedge: -1})
	store(t, c, "org:a", "a", "1", nil)
}
