package natsd_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"credbus/internal/natsd"
	"credbus/internal/tenancy"
	"credbus/internal/tenancy/users"
	"credbus/subjects"
)

// look makes servers see changes soon.
const look = 10 * time.Millisecond

func add(t *testing.T, dir, name string, scope subjects.Scope, roles ...tenancy.Role) (path string) {
	t.Helper()
	path, err := users.Add(t.Context(), dir, users.Tenant{Name: name, Scope: scope, Roles: roles})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A tenant is added while the server runs, gets what its role allows at its own inbox, and
// is disconnected when it is removed. Nobody else notices.
func TestTenants(t *testing.T) {
	dir := t.TempDir()
	s := start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort, LookEvery: look})
	worker, _ := connect(t, s.WorkerContext())
	lost := worker.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	replies, err := worker.Subscribe("cred.v1.retrieve.>", func(m *nats.Msg) {
		if err := m.Respond([]byte("reply")); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer replies.Unsubscribe()

	acme := add(t, dir, "acme", "org:acme", tenancy.Reader)
	other := add(t, dir, "other", "org:other", tenancy.Subscriber)
	eventually(t, "the tenants may connect", func() bool {
		for _, path := range []string{acme, other} {
			c, err := users.LoadOrGenerate(path, "", "")
			if err != nil {
				t.Fatal(err)
			}
			conn, err := nats.Connect(c.URL, nats.UserInfo(c.User, c.Password))
			if err != nil {
				return false
			}
			conn.Close()
		}
		return true
	})
	conn, failures := connect(t, acme)
	if reply, err := conn.Request("cred.v1.retrieve.org:acme", nil, 5*time.Second); err != nil || string(reply.Data) != "reply" {
		t.Fatalf("request: %v", err)
	}
	conn.Publish("cred.v1.retrieve.org:other", nil)
	if !refused(t, conn, failures) {
		t.Error("a tenant reads in another's scope")
	}
	conn, failures = connect(t, acme)
	if _, err := conn.SubscribeSync("_INBOX.other.>"); err != nil {
		t.Fatal(err)
	}
	if !refused(t, conn, failures) {
		t.Error("a tenant listens to another's replies")
	}
	conn, failures = connect(t, other)
	conn.Publish("cred.v1.retrieve.org:other", nil) // its only role is to listen
	if !refused(t, conn, failures) {
		t.Error("a subscriber publishes")
	}

	gone, _ := connect(t, acme)
	closed := gone.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	if err := users.Remove(t.Context(), dir, "acme"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Error("a removed tenant is still connected")
	}
	if _, err := os.Stat(acme); !os.IsNotExist(err) {
		t.Errorf("its context: %v", err)
	}
	select {
	case status := <-lost:
		t.Errorf("the worker's connection was %v by a change of tenants", status)
	default:
	}
	connect(t, other)
}

// A tenant's connection ends when its roles change, and even if the client names itself in
// other ways, the server knows whose connection it is.
func TestTenantsThatChange(t *testing.T) {
	dir := t.TempDir()
	s := start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort, LookEvery: look})
	path := add(t, dir, "acme", "org:acme", tenancy.Reader)
	c, err := users.LoadOrGenerate(path, "", "")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tenant may connect", func() bool {
		conn, err := nats.Connect(s.URL(), nats.UserInfo(c.User, c.Password))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, also := range map[string]nats.Option{"nkey": nats.Nkey(public, key.Sign), "token": nats.Token("t")} {
		if conn, err := nats.Connect(s.URL(), nats.UserInfo(c.User, c.Password), also); err == nil {
			t.Errorf("a user that gives also another identity (%s) may connect", name)
			conn.Close()
		}
	}

	conn, _ := connect(t, path)
	closed := conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	content, err := os.ReadFile(users.TenantsFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	write(t, users.TenantsFile(dir), strings.Replace(string(content), `"reader"`, `"subscriber"`, 1), 0o600)
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("a tenant whose roles changed is still connected")
	}
	eventually(t, "the tenant connects again", conn.IsConnected)
	probe, failures := connect(t, path)
	probe.Publish("cred.v1.retrieve.org:acme", nil)
	if !refused(t, probe, failures) {
		t.Error("a tenant that is no reader any more reads")
	}
}

// Tenants come and go while clients connect. The race detector judges.
func TestTenantsWhileClientsConnect(t *testing.T) {
	dir := t.TempDir()
	s := start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort, LookEvery: time.Millisecond})
	c, err := users.LoadOrGenerate(s.ClientContext(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				conn, err := nats.Connect(s.URL(), nats.UserInfo(c.User, c.Password))
				if err != nil {
					t.Errorf("the operator cannot connect: %v", err)
					return
				}
				conn.Close()
			}
		})
	}
	for range 50 {
		add(t, dir, "acme", "org:acme", tenancy.Reader)
		if err := users.Remove(t.Context(), dir, "acme"); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	clients.Wait()
}

// A list that cannot be used changes nothing, and is logged once.
func TestTenantsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	log := new(logBuffer)
	config := natsd.Config{Dir: dir, Port: natsd.RandomPort, LookEvery: look, Logger: slog.New(slog.NewTextHandler(log, nil))}
	s := start(t, config)
	path := add(t, dir, "acme", "org:acme", tenancy.Reader)
	eventually(t, "the list is taken up", func() bool { return strings.Contains(log.String(), "was taken up") })
	write(t, users.TenantsFile(dir), `{"tenants":[{"name":"acme","roles":["worker"]}]}`, 0o600)
	eventually(t, "the list is refused", func() bool { return strings.Contains(log.String(), "cannot be used") })
	connect(t, path)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := natsd.Start(t.Context(), config)
	wantError(t, err, filepath.Join(dir, "tenants.json"), "workers join")
}

// Tenants stay when the server is started again, and learn its new address.
func TestTenantsAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s := start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort})
	path := add(t, dir, "acme", "org:acme", tenancy.Reader)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort})
	if url := readContext(t, path)["url"]; url != s.URL() {
		t.Errorf("url %s, want %s", url, s.URL())
	}
	connect(t, path)
}

// A tenant's context that cannot be used keeps nobody from starting, and the other tenants
// learn the new address.
func TestContextThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	log := new(logBuffer)
	config := natsd.Config{Dir: dir, Port: natsd.RandomPort, Logger: slog.New(slog.NewTextHandler(log, nil))}
	s := start(t, config)
	damaged, good := add(t, dir, "a", "org:a", tenancy.Reader), add(t, dir, "b", "org:b", tenancy.Reader)
	write(t, damaged, "{", 0o600)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = start(t, config)
	if url := readContext(t, good)["url"]; url != s.URL() {
		t.Errorf("url %s, want %s", url, s.URL())
	}
	if !strings.Contains(log.String(), damaged) {
		t.Errorf("the log does not name the damaged file:\n%s", log)
	}
}
