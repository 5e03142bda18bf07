package sealkeys

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/seal"
	"credbus/subjects"
)

const stream = "CREDBUS_JOBS"

// connect starts a NATS server that ends with the test.
func connect(t *testing.T) *nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// open opens the keys as a worker with that keyring does.
func open(t *testing.T, nc *nats.Conn, keyring Keyring) *Keys {
	t.Helper()
	k, err := Open(t.Context(), Config{Conn: nc, Keyring: keyring, Prefix: subjects.DefaultPrefix, Stream: stream})
	must(t, err)
	return k
}

func newKeyring(t *testing.T) *seal.Keyring {
	t.Helper()
	keyring, err := seal.NewKeyring()
	must(t, err)
	return keyring
}

func rotated(t *testing.T, keyring *seal.Keyring) *seal.Keyring {
	t.Helper()
	next, err := keyring.Rotated()
	must(t, err)
	return next
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
