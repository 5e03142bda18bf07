package natsconn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"credbus/internal/natsconn"
)

// writeContext creates a nats context with a name, in a configuration directory that only
// this test sees.
func writeContext(t *testing.T, name string, fields map[string]string) (path string) {
	t.Helper()
	config := os.Getenv("XDG_CONFIG_HOME")
	path = filepath.Join(config, "nats", "context", name+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func selectContext(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "nats", "context.txt")
	if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUserAndContext(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s := run(t, server.Options{Users: []*server.User{{Username: "worker", Password: secret}}})
	url := s.ClientURL()
	path := writeContext(t, "prod", map[string]string{"url": url, "user": "worker", "password": secret})
	writeContext(t, "elsewhere", map[string]string{"url": "nats://127.0.0.1:1", "user": "worker", "password": secret})
	writeContext(t, "wrong", map[string]string{"url": url, "user": "worker", "password": "hunter2-wrong"})
	selectContext(t, "prod")

	for name, config := range map[string]natsconn.Config{
		"user":                         {URL: url, User: "worker", Password: secret},
		"in the address":               {URL: "nats://worker:" + secret + "@" + s.Addr().String()},
		"context by name":              {Context: "prod"},
		"context by path":              {Context: path},
		"selected":                     {UseSelected: true},
		"address over context":         {Context: "elsewhere", URL: url},
		"identity over context":        {Context: "wrong", User: "worker", Password: secret},
		"user in address over context": {Context: "wrong", URL: "nats://worker:" + secret + "@" + s.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) { connect(t, config) })
	}
	for name, test := range map[string]struct {
		config natsconn.Config
		want   string
	}{
		"none":        {natsconn.Config{URL: url}, "without credentials: set --nats.creds (NATS_CREDS)"},
		"password":    {natsconn.Config{URL: url, User: "worker", Password: "hunter2-wrong"}, `user "worker" and the password: check --nats.user (NATS_USER) and --nats.password (NATS_PASSWORD)`},
		"token":       {natsconn.Config{URL: url, Token: "hunter2-wrong"}, "the token: check --nats.token (NATS_TOKEN)"},
		"user, alone": {natsconn.Config{URL: url, User: "hunter2-wrong"}, "--nats.user (NATS_USER) without a password"},
		"address":     {natsconn.Config{URL: "nats://worker:hunter2-wrong@" + s.Addr().String()}, "the user in the address: check --nats.url (NATS_URL)"},
		"context":     {natsconn.Config{Context: "wrong"}, "the user of nats context wrong"},
		"unreachable": {natsconn.Config{Context: "elsewhere"}, "no server listens at nats://127.0.0.1:1: start one there, or check nats context elsewhere or --nats.url"},
	} {
		t.Run("refused "+name, func(t *testing.T) { fails(t, test.config, test.want) })
	}
	t.Run("identities are not mixed", func(t *testing.T) {
		open := run(t, server.Options{})
		conn := connect(t, natsconn.Config{Context: "prod", URL: open.ClientURL(), Token: "mine"})
		if o := conn.Opts; o.User != "" || o.Password != "" || o.Token != "mine" {
			t.Errorf("user %q was sent along with the token %q", o.User, o.Token)
		}
	})
	t.Run("context by relative path", func(t *testing.T) {
		t.Chdir(filepath.Dir(path))
		connect(t, natsconn.Config{Context: "prod.json"})
	})
}

func TestToken(t *testing.T) {
	s := run(t, server.Options{Authorization: secret})
	connect(t, natsconn.Config{URL: s.ClientURL(), Token: secret})
	// A user without a password is a token, as for the nats command.
	connect(t, natsconn.Config{URL: s.ClientURL(), User: secret})
}

func TestNKey(t *testing.T) {
	key, seed := newKey(t, nkeys.CreateUser)
	s := run(t, server.Options{Nkeys: []*server.NkeyUser{{Nkey: publicKey(t, key)}}})
	connect(t, natsconn.Config{URL: s.ClientURL(), NKey: writeFile(t, "seed.nk", seed)})

	_, other := newKey(t, nkeys.CreateUser)
	path := writeFile(t, "other.nk", other)
	fails(t, natsconn.Config{URL: s.ClientURL(), NKey: path}, "the nkey of "+path+": check --nats.nkey (NATS_NKEY)")
}

func TestCreds(t *testing.T) {
	operator, _ := newKey(t, nkeys.CreateOperator)
	account, _ := newKey(t, nkeys.CreateAccount)
	user, seed := newKey(t, nkeys.CreateUser)
	accountJWT := encode(t, jwt.NewAccountClaims(publicKey(t, account)), operator)
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(publicKey(t, account), accountJWT); err != nil {
		t.Fatal(err)
	}
	s := run(t, server.Options{TrustedKeys: []string{publicKey(t, operator)}, AccountResolver: resolver})

	creds := func(claims *jwt.UserClaims) string {
		content, err := jwt.FormatUserConfig(encode(t, claims, account), []byte(seed))
		if err != nil {
			t.Fatal(err)
		}
		return writeFile(t, "user.creds", string(content))
	}
	claims := jwt.NewUserClaims(publicKey(t, user))
	connect(t, natsconn.Config{URL: s.ClientURL(), Creds: creds(claims)})

	claims.Expires = time.Now().Add(-time.Hour).Unix()
	path := creds(claims)
	fails(t, natsconn.Config{URL: s.ClientURL(), Creds: path}, "the credentials file "+path+": check --nats.creds (NATS_CREDS)")
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) (key nkeys.KeyPair, seed string) {
	t.Helper()
	key, err := create()
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return key, string(bytes)
}

func publicKey(t *testing.T, key nkeys.KeyPair) string {
	t.Helper()
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func encode(t *testing.T, claims jwt.Claims, key nkeys.KeyPair) string {
	t.Helper()
	token, err := claims.Encode(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTLS(t *testing.T) {
	ca, cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)

	plain := run(t, server.Options{})
	simple := run(t, server.Options{TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, TLSTimeout: 2})
	mutual := run(t, server.Options{TLSTimeout: 2, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}})
	connect(t, natsconn.Config{URL: simple.ClientURL(), TLS: natsconn.TLS{CA: ca}})
	connect(t, natsconn.Config{URL: mutual.ClientURL(), TLS: natsconn.TLS{CA: ca, Cert: cert, Key: key}})

	fails(t, natsconn.Config{URL: simple.ClientURL()}, "unknown authority", "--nats.tls.ca (NATS_CA)")
	fails(t, natsconn.Config{URL: mutual.ClientURL(), TLS: natsconn.TLS{CA: ca}}, "wants a client certificate", "--nats.tls.cert (NATS_CERT)")
	fails(t, natsconn.Config{URL: plain.ClientURL(), TLS: natsconn.TLS{CA: ca}}, "does not offer TLS", "drop tls:// and --nats.tls.ca")
	// This address leads to this machine but does not look local, so the server gets no password.
	elsewhere := "nats://0.0.0.0:" + portOf(t, plain.Addr())
	fails(t, natsconn.Config{URL: elsewhere, RequireTLS: true}, "does not offer TLS, which security.require_tls wants")
	connect(t, natsconn.Config{URL: elsewhere})
	connect(t, natsconn.Config{URL: plain.ClientURL(), RequireTLS: true})
	byName := "nats://localhost:" + portOf(t, simple.Addr())
	fails(t, natsconn.Config{URL: byName, TLS: natsconn.TLS{CA: ca}}, "for another host", "--nats.url")
}

func portOf(t *testing.T, address net.Addr) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// certificate creates a self-signed certificate for 127.0.0.1, for both ends.
func certificate(t *testing.T) (ca, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = writeFile(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	key = writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	return cert, cert, key
}
