// A Kubernetes API server with its etcd for tests: see internal/testbed. There are no
// nodes, and no controllers besides those of the API server. RBAC is in force. The server
// keeps everything in files, so that it serves again after kill -9.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// Tokens of the users. They protect nothing: the server listens only on 127.0.0.1, while a
// test runs.
const (
	adminToken   = "token-of-admin"   // of system:masters, who may do anything
	credbusToken = "token-of-credbus" // of the user credbus, who may do what a test allows
	nobodyToken  = "token-of-nobody"  // of a user that no test gives a permission
)

const tokens = adminToken + `,admin,1,"system:masters"
` + credbusToken + `,credbus,2
` + nobodyToken + `,nobody,3
`

func main() {
	data := flag.String("data", "", "directory for all data; a temporary one if empty")
	port := flag.Int("port", 0, "port on 127.0.0.1; any free one if 0")
	var more []string
	flag.Func("apiserver", "one more flag of kube-apiserver, as in -apiserver=--watch-cache=false; may be given several times", func(arg string) error {
		more = append(more, arg)
		return nil
	})
	flag.Parse()
	if err := run(*data, *port, more); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(data string, port int, more []string) error {
	if data == "" {
		temporary, err := os.MkdirTemp("", "credbus-bed-kubernetes-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		data = temporary
	}
	if port == 0 {
		var err error
		if port, err = freePort(); err != nil {
			return err
		}
	}
	store, err := startEtcd(filepath.Join(data, "etcd"))
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	files, err := writeFiles(data, port)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	command := app.NewAPIServerCommand()
	command.SetArgs(append([]string{
		"--etcd-servers=" + store.Clients[0].Addr().String(),
		"--service-account-key-file=" + files.key,
		"--service-account-signing-key-file=" + files.key,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--token-auth-file=" + files.tokens,
		"--authorization-mode=RBAC",
		"--cert-dir=" + files.certs,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		fmt.Sprintf("--secure-port=%d", port),
	}, more...))
	go func() { ended <- command.Execute() }()
	address := fmt.Sprintf("https://127.0.0.1:%d", port)
	ready := make(chan error, 1)
	go func() { ready <- awaitReady(address, files.ca) }()
	select {
	case err := <-ended:
		return fmt.Errorf("kube-apiserver ended: %w", err)
	case err := <-ready:
		if err != nil {
			return err
		}
	}
	line, err := json.Marshal(map[string]string{
		"address":       address,
		"port":          fmt.Sprint(port),
		"ca":            files.ca,
		"kubeconfig":    files.kubeconfig,
		"admin_token":   adminToken,
		"credbus_token": credbusToken,
		"nobody_token":  nobodyToken,
		"etcd":          "http://" + store.Clients[0].Addr().String(),
	})
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil // the process ends, and so do both servers
}

// startEtcd serves etcd on free ports, with the data in the directory.
func startEtcd(dir string) (*embed.Etcd, error) {
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel = "error"
	config.LogOutputs = []string{"stderr"}
	config.UnsafeNoFsync = true // if only the process dies, its writes survive
	config.EnableGRPCGateway = true
	local := func() []url.URL { return []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}} }
	config.ListenClientUrls, config.AdvertiseClientUrls = local(), local()
	config.ListenPeerUrls, config.AdvertisePeerUrls = local(), local()
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		return nil, err
	case <-time.After(time.Minute):
		return nil, errors.New("not ready after a minute")
	}
}

// files are the paths of files that the server reads or tests need.
type files struct{ certs, ca, key, tokens, kubeconfig string }

// writeFiles writes the files, but keeps the keys of an earlier start.
func writeFiles(data string, port int) (files, error) {
	f := files{
		certs:      filepath.Join(data, "certs"),
		key:        filepath.Join(data, "service-account.key"),
		tokens:     filepath.Join(data, "tokens.csv"),
		kubeconfig: filepath.Join(data, "kubeconfig"),
	}
	f.ca = filepath.Join(f.certs, "apiserver.crt") // the server creates it; it contains its issuer, too
	if _, err := os.Stat(f.key); errors.Is(err, os.ErrNotExist) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return f, err
		}
		block := pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
		if err := os.WriteFile(f.key, pem.EncodeToMemory(&block), 0o600); err != nil {
			return f, err
		}
	}
	if err := os.WriteFile(f.tokens, []byte(tokens), 0o600); err != nil {
		return f, err
	}
	return f, os.WriteFile(f.kubeconfig, []byte(kubeconfig(port, f.ca)), 0o600)
}

// kubeconfig has a context for each user, with the name of the user.
func kubeconfig(port int, ca string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: Config
current-context: admin
clusters:
- name: bed
  cluster:
    server: https://127.0.0.1:%d
    certificate-authority: %s
users:
`, port, ca)
	users := []struct{ name, token string }{{"admin", adminToken}, {"credbus", credbusToken}, {"nobody", nobodyToken}}
	for _, user := range users {
		fmt.Fprintf(&b, "- name: %s\n  user: {token: %s}\n", user.name, user.token)
	}
	b.WriteString("contexts:\n")
	for _, user := range users {
		fmt.Fprintf(&b, "- name: %s\n  context: {cluster: bed, user: %[1]s}\n", user.name)
	}
	return b.String()
}

// awaitReady waits until the server is ready, which includes RBAC's default roles, and has
// created the namespace default.
func awaitReady(address, ca string) error {
	last := errors.New("it was not asked")
	for until := time.Now().Add(100 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if last = ask(address+"/readyz", ca); last == nil {
			if last = ask(address+"/api/v1/namespaces/default", ca); last == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("kube-apiserver is not ready: %w", last)
}

func ask(address, ca string) error {
	roots := x509.NewCertPool()
	cert, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	roots.AppendCertsFromPEM(cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+adminToken)
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, answer.Status)
	}
	return nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
