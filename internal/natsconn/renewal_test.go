package natsconn_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"credbus/internal/natsconn"
)

// answers checks that conn still has its subscription, and can send.
func answers(t *testing.T, conn *nats.Conn) {
	t.Helper()
	if _, err := conn.Request("echo", []byte("x"), limit); err != nil {
		t.Errorf("after the reconnect: %v", err)
	}
}

func echo(t *testing.T, conn *nats.Conn) {
	t.Helper()
	if _, err := conn.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, path, with string) {
	t.Helper()
	content, err := os.ReadFile(with)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestExpiredJWT lets the JWT of a connected user expire. The connection says so, tries
// again, and is back once the file has a new one.
func TestExpiredJWT(t *testing.T) {
	operator, _ := newKey(t, nkeys.CreateOperator)
	account, _ := newKey(t, nkeys.CreateAccount)
	user, seed := newKey(t, nkeys.CreateUser)
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(publicKey(t, account), encode(t, jwt.NewAccountClaims(publicKey(t, account)), operator)); err != nil {
		t.Fatal(err)
	}
	s := run(t, server.Options{TrustedKeys: []string{publicKey(t, operator)}, AccountResolver: resolver})
	creds := func(expires time.Time) string {
		claims := jwt.NewUserClaims(publicKey(t, user))
		claims.Expires = expires.Unix()
		content, err := jwt.FormatUserConfig(encode(t, claims, account), []byte(seed))
		if err != nil {
			t.Fatal(err)
		}
		return writeFile(t, "user.creds", string(content))
	}
	path := creds(time.Now().Add(3 * time.Second)) // JWTs count in seconds
	buffer, logger := newLog()
	conn := connect(t, natsconn.Config{URL: s.ClientURL(), Creds: path, Logger: logger})
	echo(t, conn)
	buffer.waitFor(t, "connection lost")
	buffer.waitFor(t, "no longer accepts the credentials file "+path)
	buffer.waitFor(t, "check --nats.creds (NATS_CREDS)")
	replace(t, path, creds(time.Now().Add(time.Hour)))
	buffer.waitFor(t, "connection is back")
	answers(t, conn)
}

// TestRenewedCertificates replaces the files of a client's certificate and of the authorities
// that it trusts. The next connection uses the new ones.
func TestRenewedCertificates(t *testing.T) {
	ca, cert, key := certificate(t)
	newCA, newCert, newKey := certificate(t)
	pool := x509.NewCertPool()
	for _, file := range []string{ca, newCA} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pool.AppendCertsFromPEM(content)
	}
	var mu sync.Mutex
	var seen [][]byte // certificates of clients
	serve := func(port int, cert, key string) *server.Server {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return run(t, server.Options{Port: port, TLSTimeout: 2, TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
			VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, raw[0])
				return nil
			},
		}})
	}
	first := serve(0, cert, key)
	buffer, logger := newLog()
	conn := connect(t, natsconn.Config{URL: first.ClientURL(), TLS: natsconn.TLS{CA: ca, Cert: cert, Key: key}, Logger: logger})
	echo(t, conn)
	port := first.Addr().(*net.TCPAddr).Port
	first.Shutdown()
	first.WaitForShutdown()
	replace(t, key, newKey)
	replace(t, cert, newCert) // which is the file of the authority, too
	serve(port, newCert, newKey)
	buffer.waitFor(t, "connection is back")
	answers(t, conn)
	mu.Lock()
	defer mu.Unlock()
	if want, err := tls.LoadX509KeyPair(newCert, newKey); err != nil || !bytes.Equal(seen[len(seen)-1], want.Certificate[0]) {
		t.Errorf("the server saw the old certificate (%v)", err)
	}
}
