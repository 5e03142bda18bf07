package client_test

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/client"
)

// serverFor runs a NATS server whose only user is named, on a port that may be given.
func serverFor(t *testing.T, user string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		Users: []*server.User{{Username: user, Password: "pw"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	return s
}

// If the server lacks the client's user for a while, the client connects again after that.
func TestMissingUser(t *testing.T) {
	s := serverFor(t, "program", server.RANDOM_PORT)
	port := s.Addr().(*net.TCPAddr).Port
	tried := make(chan struct{}, 100)
	c, err := client.Connect(s.ClientURL(), &client.Config{NATSOptions: []nats.Option{
		nats.UserInfo("program", "pw"),
		nats.CustomReconnectDelay(func(int) time.Duration {
			select {
			case tried <- struct{}{}:
			default:
			}
			return 10 * time.Millisecond
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop := func(s *server.Server) { s.Shutdown(); s.WaitForShutdown() }
	stop(s)
	other := serverFor(t, "another", port)
	for len(tried) > 0 {
		<-tried
	}
	for range 5 { // nats.go by itself gives up at the second refusal
		select {
		case <-tried:
		case <-time.After(20 * time.Second):
			t.Fatal("the client does not try to come back")
		}
	}
	stop(other)
	again := serverFor(t, "program", port)
	defer stop(again)
	responder, err := nats.Connect(again.ClientURL(), nats.UserInfo("program", "pw"))
	if err != nil {
		t.Fatal(err)
	}
	defer responder.Close()
	for deadline := time.Now().Add(20 * time.Second); again.NumClients() != 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client does not come back")
		}
	}
}
